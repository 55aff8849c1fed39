/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_net.c - the wire: what is under way, in the order of its arrival. See sim_net.h.
 *
 * Invariant: the heap is ordered by (time, number); the number is given when an event is made, so
 * that two events of one instant keep the order in which they were caused.
 */
#include <stdarg.h>
#include <xxhash.h>

#include "transport/sim/sim.h"

struct cut {
	struct swi_list link;
	char a[64], b[64];
};

struct ghost { /* an address whose host died without a word */
	struct swi_list link;
	char addr[64];
};

struct swi_simnet {
	struct swi_simnet_opts o;
	uint64_t now, seq, rng;
	uint32_t next_ep, next_client, next_port;
	struct sim_event **heap;
	size_t count, cap;
	struct swi_list parked; /* sim_event.link: held back by cuts, in order */
	struct swi_list backends, cuts, ghosts;
	void (*trace)(void *ctx, const char *line);
	void *trace_ctx;
	struct swi_simnet_stats n;
};

static const char *const kind_names[] = {
    [SIM_CONN_REQ] = "connect",
    [SIM_CONN_ACK] = "accept",
    [SIM_CONN_NAK] = "refuse",
    [SIM_MSG] = "msg",
    [SIM_FIN] = "fin",
    [SIM_READ_FIRST] = "read-first",
    [SIM_READ_SECOND] = "read-second",
    [SIM_READ_DONE] = "read-done",
    [SIM_ACCEPTED] = "accepted",
    [SIM_CLOSED] = "closed",
    [SIM_WAKE] = "wake",
};

SWI_PRINTF(2, 3) static void trace(struct swi_simnet *net, const char *fmt, ...)
{
	char line[320];
	va_list ap;

	if (!net->trace)
		return;
	const int n = snprintf(line, sizeof(line), "%llu ", (unsigned long long)net->now);

	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
	va_end(ap);
	net->trace(net->trace_ctx, line);
}

static const char *name_of(const struct swi_be_ep *ep)
{
	return ep ? ep->name : "-";
}

static void trace_event(struct swi_simnet *net, const struct sim_event *ev, const char *what)
{
	const bool body = ev->kind == SIM_MSG && net->trace;

	trace(net, "%s %s %s#%u -> %s#%u len %u status %d digest %016llx", what,
	      kind_names[ev->kind], name_of(ev->src), ev->src ? ev->src->id : 0,
	      ev->kind == SIM_CONN_REQ ? ev->addr : name_of(ev->dst), ev->dst ? ev->dst->id : 0,
	      ev->len, ev->status, body ? (unsigned long long)XXH3_64bits(ev->data, ev->len) : 0);
}

/* --- the heap --- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void heap_push(struct swi_simnet *net, struct sim_event *ev)
{
	if (net->count == net->cap) {
		const size_t cap = net->cap ? 2 * net->cap : 256;
		struct sim_event **h = realloc(net->heap, cap * sizeof(struct sim_event *));

		SWI_BUG_ON(!h); /* a simulation that ran out of memory has no meaning */
		net->heap = h;
		net->cap = cap;
	}
	size_t i = net->count++;

	ev->seq = net->seq++;
	for (; i && before(ev, net->heap[(i - 1) / 2]); i = (i - 1) / 2)
		net->heap[i] = net->heap[(i - 1) / 2];
	net->heap[i] = ev;
}

static struct sim_event *heap_pop(struct swi_simnet *net)
{
	struct sim_event *top = net->heap[0], *last = net->heap[--net->count];
	size_t i = 0;

	for (size_t k; (k = 2 * i + 1) < net->count; i = k) {
		if (k + 1 < net->count && before(net->heap[k + 1], net->heap[k]))
			k++;
		if (!before(net->heap[k], last))
			break;
		net->heap[i] = net->heap[k];
	}
	if (net->count)
		net->heap[i] = last;
	return top;
}

/* --- endpoints and events --- */

struct swi_be_ep *swi_sim_ep_new(struct swi_be *be)
{
	struct swi_be_ep *ep = calloc(1, sizeof(*ep));

	if (!ep)
		return NULL;
	ep->refs = 1;
	ep->id = ++be->net->next_ep;
	snprintf(ep->name, sizeof(ep->name), "%s", be->name);
	ep->be = be;
	swi_list_init(&ep->reads);
	swi_list_push_back(&be->eps, &ep->link);
	return ep;
}

void swi_sim_ep_unref(struct swi_be_ep *ep)
{
	if (ep && --ep->refs == 0)
		free(ep);
}

static struct swi_be_ep *ep_ref(struct swi_be_ep *ep)
{
	if (ep)
		ep->refs++;
	return ep;
}

void swi_sim_ep_forget_peer(struct swi_be_ep *ep)
{
	struct swi_be_ep *peer = ep->peer;

	ep->peer = NULL;
	swi_sim_ep_unref(peer);
}

struct sim_event *swi_sim_event(enum sim_kind kind, struct swi_be_ep *src, struct swi_be_ep *dst,
				uint32_t len)
{
	struct sim_event *ev = calloc(1, sizeof(*ev) + len);

	SWI_BUG_ON(!ev); /* as in heap_push() */
	ev->kind = kind;
	ev->src = ep_ref(src);
	ev->dst = ep_ref(dst);
	ev->len = len;
	swi_list_init(&ev->link);
	return ev;
}

void swi_sim_event_free(struct sim_event *ev)
{
	if (ev->read && ev->read->rd) {
		ev->read->orphan = true;
	} else if (ev->read) {
		swi_list_del(&ev->read->link);
		free(ev->read);
	}
	swi_sim_ep_unref(ev->src);
	swi_sim_ep_unref(ev->dst);
	free(ev);
}

uint64_t swi_sim_rand(struct swi_simnet *net)
{
	return swi_splitmix64(&net->rng);
}

static uint64_t latency(struct swi_simnet *net)
{
	uint64_t ns = net->o.latency_ns + swi_sim_rand(net) % (net->o.jitter_ns + 1);

	if (net->o.tail_permille && swi_sim_rand(net) % 1000 < net->o.tail_permille)
		ns += net->o.tail_ns;
	return ns;
}

static uint64_t wire_ns(const struct swi_simnet *net, uint64_t bytes)
{
	return bytes * NS_PER_S / net->o.bytes_per_s;
}

void swi_sim_transmit(struct swi_be *be, struct sim_event *ev, uint64_t bytes)
{
	struct swi_simnet *net = be->net;
	const uint64_t leaves = swi_max_u64(net->now, be->nic_free_ns) + wire_ns(net, bytes);

	be->nic_free_ns = leaves;
	ev->at = leaves + latency(net);
	if (ev->src) {
		ev->at = swi_max_u64(ev->at, ev->src->last_ns);
		ev->src->last_ns = ev->at;
	}
	trace_event(net, ev, "send");
	heap_push(net, ev);
}

void swi_sim_fin(struct swi_be_ep *ep)
{
	if (ep->peer && ep->be && !ep->be->dead)
		swi_sim_transmit(ep->be, swi_sim_event(SIM_FIN, ep, ep->peer, 0), 64);
}

static void to_inbox(struct swi_be_ep *ep, struct sim_event *ev)
{
	swi_list_push_back(&ep->be->inbox, &ev->link);
}

/* The endpoint fails: down() is queued, once. */
static void break_ep(struct swi_be_ep *ep, int status)
{
	if (ep->broken || ep->closing || !ep->be || ep->be->dead)
		return;
	ep->broken = true;
	struct sim_event *ev = swi_sim_event(SIM_FIN, ep->peer, ep, 0);

	ev->status = status;
	to_inbox(ep, ev);
}

/* --- arrivals --- */

static struct swi_be *listener(struct swi_simnet *net, const char *addr)
{
	swi_list_for_each (it, &net->backends) {
		struct swi_be *be = swi_list_entry(it, struct swi_be, link);

		if (be->listens && !be->dead && !strcmp(be->name, addr))
			return be;
	}
	return NULL;
}

static bool is_ghost(const struct swi_simnet *net, const char *addr)
{
	swi_list_for_each (it, &net->ghosts)
		if (!strcmp(swi_list_entry(it, struct ghost, link)->addr, addr))
			return true;
	return false;
}

static void answer(struct swi_simnet *net, enum sim_kind kind, struct swi_be_ep *from,
		   struct swi_be_ep *to)
{
	struct sim_event *ev = swi_sim_event(kind, from, to, 0);

	ev->at = net->now + latency(net);
	if (from)
		from->last_ns = ev->at;
	trace_event(net, ev, "send");
	heap_push(net, ev);
}

static void on_conn_req(struct swi_simnet *net, struct sim_event *ev)
{
	struct swi_be_ep *src = ev->src;
	struct swi_be *be = listener(net, ev->addr);

	if (!src->be || src->closing || is_ghost(net, ev->addr))
		return;
	struct swi_be_ep *ep = be ? swi_sim_ep_new(be) : NULL;

	if (!ep) {
		answer(net, SIM_CONN_NAK, NULL, src);
		return;
	}
	ep->up = true;
	ep->peer = ep_ref(src);
	src->peer = ep_ref(ep);
	to_inbox(ep, swi_sim_event(SIM_ACCEPTED, src, ep, 0));
	answer(net, SIM_CONN_ACK, ep, src);
}

/* True: @ev is in the inbox now. */
static bool on_msg(struct swi_simnet *net, struct sim_event *ev)
{
	struct swi_be_ep *src = ev->src, *dst = ev->dst;

	src->sends--;
	if (src->full && src->be) {
		src->full = false;
		to_inbox(src, swi_sim_event(SIM_WAKE, NULL, src, 0));
	}
	if (dst->broken || dst->closing)
		return false;
	if (dst->undelivered >= SWI_BE_RECV_DEPTH) {
		net->n.overruns++;
		break_ep(dst, SWARM_EPEERLOST);
		if (src->be)
			break_ep(src, SWARM_EPEERLOST);
		return false;
	}
	dst->undelivered++;
	net->n.messages++;
	to_inbox(dst, ev);
	return true;
}

/* What a card checks, at the target's endpoint: the bytes to be read, or NULL. */
static const uint8_t *check_read(const struct swi_be_ep *target, const struct swi_be_read *rd)
{
	if (!target->granted)
		return NULL;
	swi_list_for_each (it, &target->be->mrs) {
		const struct sim_mr *mr = swi_list_entry(it, struct sim_mr, link);
		const uint64_t off = rd->remote_addr - mr->base;

		if (mr->rkey != rd->rkey)
			continue;
		if (!mr->remote_read || rd->remote_addr < mr->base || off > mr->len ||
		    rd->len > mr->len - off)
			return NULL;
		return mr->addr + off;
	}
	return NULL;
}

/* Carries a READ on to its next stage. */
static void read_next(struct swi_simnet *net, struct sim_event *ev, enum sim_kind kind, uint64_t at,
		      struct swi_be_ep *dst)
{
	struct sim_event *next = swi_sim_event(kind, ev->src, dst, 0);

	next->read = ev->read;
	next->status = ev->status;
	ev->read = NULL;
	next->at = at;
	heap_push(net, next);
}

/* The answer of @target, which nothing that it sends later overtakes. */
static void read_answer(struct swi_simnet *net, struct sim_event *ev, struct swi_be_ep *target)
{
	target->last_ns = swi_max_u64(net->now + latency(net), target->last_ns);
	read_next(net, ev, SIM_READ_DONE, target->last_ns, ev->src);
}

static void on_read(struct swi_simnet *net, struct sim_event *ev)
{
	struct swi_be_ep *target = ev->dst;
	struct swi_be_read *rd = ev->read->rd;
	const bool first = ev->kind == SIM_READ_FIRST;

	if (!rd || !target->be || target->be->dead || target->closing || target->broken)
		return; /* no answer; the flush of the reader's endpoint ends it */
	const uint8_t *bytes = check_read(target, rd);

	if (!bytes) {
		ev->status = SWARM_EREMOTEACCESS;
		net->n.refused_reads++;
		break_ep(target, SWARM_EPEERLOST); /* as a card does: the connection ends */
		read_answer(net, ev, target);
		return;
	}
	const uint32_t half = rd->len / 2;
	const uint32_t from = first ? 0 : half, n = first ? half : rd->len - half;

	if (n)
		memcpy((uint8_t *)rd->local + from, bytes + from, n);
	if (first) {
		struct swi_be *be = target->be;

		be->nic_free_ns = swi_max_u64(net->now, be->nic_free_ns) + wire_ns(net, rd->len);
		read_next(net, ev, SIM_READ_SECOND, be->nic_free_ns + 1, target);
		return;
	}
	net->n.reads++;
	net->n.read_bytes += rd->len;
	read_answer(net, ev, target);
}

/* True: @ev is in the inbox now. */
static bool on_read_done(struct sim_event *ev)
{
	if (!ev->read->rd)
		return false;
	swi_list_del(&ev->read->link);
	to_inbox(ev->dst, ev);
	if (ev->status)
		break_ep(ev->dst, SWARM_EPEERLOST);
	return true;
}

static bool arrive(struct swi_simnet *net, struct sim_event *ev)
{
	struct swi_be_ep *dst = ev->dst;

	if (ev->kind == SIM_CONN_REQ) {
		on_conn_req(net, ev);
		return false;
	}
	if (!dst->be || dst->be->dead) {
		if (ev->kind == SIM_MSG)
			ev->src->sends--;
		return false;
	}
	switch (ev->kind) {
	case SIM_MSG:
		return on_msg(net, ev);
	case SIM_READ_FIRST:
	case SIM_READ_SECOND:
		on_read(net, ev);
		return false;
	case SIM_READ_DONE:
		return on_read_done(ev);
	case SIM_CONN_ACK:
		if (dst->closing || dst->broken)
			return false;
		dst->up = true;
		to_inbox(dst, ev);
		return true;
	case SIM_CONN_NAK:
		break_ep(dst, -ECONNREFUSED);
		return false;
	default:
		break_ep(dst, SWARM_EPEERLOST);
		return false;
	}
}

/* --- cuts --- */

static bool is_cut(const struct swi_simnet *net, const char *a, const char *b)
{
	swi_list_for_each (it, &net->cuts) {
		const struct cut *c = swi_list_entry(it, struct cut, link);

		if ((!strcmp(c->a, a) && !strcmp(c->b, b)) ||
		    (!strcmp(c->a, b) && !strcmp(c->b, a)))
			return true;
	}
	return false;
}

static bool held_back(const struct swi_simnet *net, const struct sim_event *ev)
{
	if (swi_list_empty(&net->cuts))
		return false;
	if (ev->kind == SIM_CONN_REQ)
		return is_cut(net, name_of(ev->src), ev->addr);
	const struct swi_be_ep *other = ev->kind == SIM_READ_DONE ? ev->dst->peer : ev->src;

	return is_cut(net, name_of(other), name_of(ev->dst));
}

void swi_simnet_cut(struct swi_simnet *net, const char *a, const char *b)
{
	struct cut *c = calloc(1, sizeof(*c));

	SWI_BUG_ON(!c);
	snprintf(c->a, sizeof(c->a), "%s", a);
	snprintf(c->b, sizeof(c->b), "%s", b);
	swi_list_push_back(&net->cuts, &c->link);
	trace(net, "cut %s %s", a, b);
}

void swi_simnet_heal(struct swi_simnet *net, const char *a, const char *b)
{
	struct swi_list parked;

	swi_list_for_each_safe (it, &net->cuts) {
		struct cut *c = swi_list_entry(it, struct cut, link);

		if ((strcmp(c->a, a) || strcmp(c->b, b)) && (strcmp(c->a, b) || strcmp(c->b, a)))
			continue;
		swi_list_del(it);
		free(c);
	}
	trace(net, "heal %s %s", a, b);
	swi_list_init(&parked);
	swi_list_splice(&parked, &net->parked);
	while (!swi_list_empty(&parked)) {
		struct sim_event *ev = swi_list_entry(parked.next, struct sim_event, link);

		swi_list_del(&ev->link);
		if (held_back(net, ev)) { /* by another cut */
			swi_list_push_back(&net->parked, &ev->link);
			continue;
		}
		ev->at = net->now; /* before whatever is under way, so that the order stays */
		heap_push(net, ev);
	}
}

/* --- control --- */

uint64_t swi_simnet_now(const struct swi_simnet *net)
{
	return net->now;
}

uint64_t swi_simnet_next_ns(const struct swi_simnet *net)
{
	return net->count ? net->heap[0]->at : UINT64_MAX;
}

void swi_simnet_advance(struct swi_simnet *net, uint64_t t)
{
	while (net->count && net->heap[0]->at <= t) {
		struct sim_event *ev = heap_pop(net);

		net->now = swi_max_u64(net->now, ev->at);
		net->n.events++;
		if (held_back(net, ev)) {
			trace_event(net, ev, "hold");
			swi_list_push_back(&net->parked, &ev->link);
			continue;
		}
		trace_event(net, ev, "arrive");
		if (!arrive(net, ev))
			swi_sim_event_free(ev);
	}
	net->now = swi_max_u64(net->now, t);
}

void swi_simnet_kill(struct swi_simnet *net, const char *addr, enum swi_sim_kill how)
{
	struct swi_be *be = listener(net, addr);

	if (!be)
		return;
	trace(net, "kill %s %s", addr, how == SWI_SIM_KILL_RESET ? "reset" : "silent");
	if (how == SWI_SIM_KILL_RESET) {
		swi_list_for_each (it, &be->eps)
			swi_sim_fin(swi_list_entry(it, struct swi_be_ep, link));
	} else {
		struct ghost *g = calloc(1, sizeof(*g));

		SWI_BUG_ON(!g);
		snprintf(g->addr, sizeof(g->addr), "%s", addr);
		swi_list_push_back(&net->ghosts, &g->link);
	}
	be->dead = true;
}

void swi_simnet_trace(struct swi_simnet *net, void (*fn)(void *ctx, const char *line), void *ctx)
{
	net->trace = fn;
	net->trace_ctx = ctx;
}

const struct swi_simnet_stats *swi_simnet_stats(const struct swi_simnet *net)
{
	return &net->n;
}

const struct swi_simnet_opts *swi_sim_opts(const struct swi_simnet *net)
{
	return &net->o;
}

bool swi_sim_addr_ok(const char *addr)
{
	const char *colon = strrchr(addr, ':');

	return colon && colon != addr && colon[1] && strlen(addr) < 64 &&
	       strspn(colon + 1, "0123456789") == strlen(colon + 1);
}

int swi_sim_join(struct swi_simnet *net, struct swi_be *be, const char *bind)
{
	if (bind && !swi_sim_addr_ok(bind))
		return -EINVAL;
	if (!bind) {
		snprintf(be->name, sizeof(be->name), "client-%u", ++net->next_client);
	} else if (!strcmp(strrchr(bind, ':'), ":0")) {
		const int host = (int)swi_min_u64((uint64_t)(strrchr(bind, ':') - bind), 49);

		do
			snprintf(be->name, sizeof(be->name), "%.*s:%u", host, bind,
				 40000 + net->next_port++);
		while (listener(net, be->name));
	} else if (listener(net, bind)) {
		return SWARM_EPORTUSED;
	} else {
		snprintf(be->name, sizeof(be->name), "%s", bind);
	}
	be->listens = bind != NULL;
	swi_list_for_each_safe (it, &net->ghosts) {
		struct ghost *g = swi_list_entry(it, struct ghost, link);

		if (strcmp(g->addr, be->name))
			continue;
		swi_list_del(it);
		free(g);
	}
	swi_list_push_back(&net->backends, &be->link);
	trace(net, "open %s", be->name);
	return 0;
}

void swi_sim_leave(struct swi_be *be)
{
	trace(be->net, "close %s", be->name);
	swi_list_del(&be->link);
}

int swi_simnet_create(const struct swi_simnet_opts *opts, struct swi_simnet **out_net)
{
	struct swi_simnet *net = calloc(1, sizeof(*net));

	if (!net)
		return -ENOMEM;
	net->o = *opts;
	net->o.latency_ns = opts->latency_ns ? opts->latency_ns : 2 * NS_PER_US;
	net->o.jitter_ns = opts->jitter_ns ? opts->jitter_ns : 1 * NS_PER_US;
	net->o.bytes_per_s = opts->bytes_per_s ? opts->bytes_per_s : 12500000000ull;
	net->o.max_read = opts->max_read ? opts->max_read : MIB(1);
	net->o.max_mr = opts->max_mr ? opts->max_mr : GIB(1);
	net->now = opts->start_ns ? opts->start_ns : NS_PER_S;
	net->rng = opts->seed;
	swi_list_init(&net->parked);
	swi_list_init(&net->backends);
	swi_list_init(&net->cuts);
	swi_list_init(&net->ghosts);
	*out_net = net;
	return 0;
}

void swi_simnet_destroy(struct swi_simnet *net)
{
	if (!net)
		return;
	SWI_BUG_ON(!swi_list_empty(&net->backends));
	while (net->count)
		swi_sim_event_free(heap_pop(net));
	swi_list_for_each_safe (it, &net->parked)
		swi_sim_event_free(swi_list_entry(it, struct sim_event, link));
	swi_list_for_each_safe (it, &net->cuts)
		free(swi_list_entry(it, struct cut, link));
	swi_list_for_each_safe (it, &net->ghosts)
		free(swi_list_entry(it, struct ghost, link));
	free(net->heap);
	free(net);
}

static uint64_t env_now(struct swi_env *env)
{
	return ((struct swi_sim_env *)env)->net->now;
}

static uint64_t env_rand(struct swi_env *env)
{
	return swi_splitmix64(&((struct swi_sim_env *)env)->state);
}

void swi_sim_env_init(struct swi_sim_env *e, struct swi_simnet *net, uint64_t seed)
{
	*e = (struct swi_sim_env){
	    .env = {.now_ns = env_now, .rand64 = env_rand}, .net = net, .state = seed};
}
