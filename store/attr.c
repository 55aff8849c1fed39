/* SPDX-License-Identifier: Apache-2.0 */
/* attr.c - see attr.h: SWI_L_PIN and SWI_L_EXPIRE, and what follows from them. */
#include <swarm/store.h>

#include "store/attr.h"
#include "store/request.h"
#include "store/snode_internal.h"

#define READER_NS (5 * NS_PER_MS) /* somebody reads what is over: look again */
#define AGAIN_NS  NS_PER_S	  /* its home was told to delete it, and it is still here */

void swi_attrs_init(struct swi_snode *sn)
{
	const uint64_t max = sn->opts.pin_bytes_max;

	sn->attrs.hard_max = max ? max : sn->arena_bytes / 2;
}

static struct swi_attr *attr_find(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_attr *at;

	HASH_FIND(hh, sn->attrs.by_id, &id, sizeof(id), at);
	return at;
}

static void set_pin(struct swi_attr *at, uint8_t pin)
{
	struct swi_attrs *as = &at->sn->attrs;

	if (at->pin == SWARM_PIN_HARD) {
		as->hard_bytes -= at->bytes;
		as->hard--;
	}
	as->soft -= at->pin == SWARM_PIN_SOFT;
	at->pin = pin;
	as->soft += pin == SWARM_PIN_SOFT;
	if (pin == SWARM_PIN_HARD) {
		as->hard_bytes += at->bytes;
		as->hard++;
	}
}

static void set_ttl(struct swi_attr *at, uint64_t due_ns)
{
	struct swi_snode *sn = at->sn;

	sn->attrs.expiring -= at->ttl.pos != 0;
	swi_timer_set(&sn->timers, &at->ttl, due_ns);
	sn->attrs.expiring += at->ttl.pos != 0;
}

static void set_replica(struct swi_attr *at, bool replica)
{
	at->sn->attrs.replicas -= at->replica;
	at->replica = replica;
	at->sn->attrs.replicas += replica;
}

static void attr_free(struct swi_attr *at)
{
	struct swi_snode *sn = at->sn;

	set_pin(at, SWARM_PIN_NONE);
	set_replica(at, false);
	set_ttl(at, UINT64_MAX);
	HASH_DELETE(hh, sn->attrs.by_id, at);
	free(at);
}

static void free_if_empty(struct swi_attr *at)
{
	if (at->pin == SWARM_PIN_NONE && !at->replica && !at->ttl.pos)
		attr_free(at);
}

void swi_attrs_fini(struct swi_snode *sn)
{
	struct swi_attr *at, *tmp;

	HASH_ITER(hh, sn->attrs.by_id, at, tmp)
		attr_free(at);
}

uint8_t swi_attr_pin(struct swi_snode *sn, struct swarm_oid id)
{
	const struct swi_attr *at = sn->attrs.by_id ? attr_find(sn, id) : NULL;

	return at ? at->pin : SWARM_PIN_NONE;
}

void swi_attr_forget(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_attr *at = attr_find(sn, id);

	if (at)
		attr_free(at);
}

void swi_attr_left(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_attr *at = sn->attrs.by_id ? attr_find(sn, id) : NULL;

	if (!at)
		return;
	set_pin(at, SWARM_PIN_NONE);
	set_replica(at, false);
	free_if_empty(at);
}

/* ---- the end in time ---- */

/* Is somebody reading it? A reader that comes after this look keeps its bytes all the same: a delete waits for pins. */
static bool being_read(struct swi_snode *sn, struct swarm_oid id)
{
	struct swi_local lo;

	if (!swi_local_find(sn, id, &lo))
		return false;
	if (swi_is_held(sn, lo.offset))
		return true;
	if (sn->attrs.scan_ns != sn->now_ns && swi_pins_scan(sn))
		return true;
	sn->attrs.scan_ns = sn->now_ns;
	return swi_pinset_has(&sn->holds.pins, lo.offset);
}

static void ttl_due(struct swi_timer *t)
{
	struct swi_attr *at = swi_container_of(t, struct swi_attr, ttl);
	struct swi_snode *sn = at->sn;
	const struct swarm_ref ref = at->ref;
	struct swi_index_hit hit;
	struct swi_local lo;
	uint64_t len;

	sn->attrs.expiring--; /* the timer has stopped */
	if (swi_index_find_dead(&sn->index, swi_index_key(ref.id), &hit))
		return; /* a client has just deleted it, which we read next; what has its name by now is another one */
	if (being_read(sn, ref.id)) {
		set_ttl(at, sn->now_ns + READER_NS);
		return;
	}
	swi_delete(sn, ref);
	at = attr_find(sn, ref.id);
	if (!at) {
		sn->attrs.expired++;
		return;
	}
	if (swi_local_find(sn, ref.id, &lo) || swi_spilled_here(sn, ref.id, &len))
		set_ttl(at, sn->now_ns + AGAIN_NS);
	else
		attr_free(at);
}

/* ---- requests ---- */

static struct swi_attr *attr_get(struct swi_snode *sn, struct swarm_ref ref)
{
	struct swi_attr *at = attr_find(sn, ref.id);

	if (at)
		return at;
	at = calloc(1, sizeof(*at));
	if (!at)
		return NULL;
	at->sn = sn;
	at->id = ref.id;
	at->ref = ref;
	at->ttl.cb = ttl_due;
	HASH_ADD(hh, sn->attrs.by_id, id, sizeof(at->id), at);
	return at;
}

int swi_attr_keep(struct swi_snode *sn, struct swarm_ref ref)
{
	struct swi_attr *at = attr_get(sn, ref);

	if (!at)
		return -ENOMEM;
	if (at->pin == SWARM_PIN_NONE)
		set_pin(at, SWARM_PIN_SOFT);
	set_replica(at, true);
	return 0;
}

bool swi_attr_is_replica(struct swi_snode *sn, struct swarm_oid id)
{
	const struct swi_attr *at = sn->attrs.by_id ? attr_find(sn, id) : NULL;

	return at && at->replica;
}

static void reply_done(struct swi_client *cl, uint64_t req)
{
	const uint32_t zero = 0;

	swi_client_send(cl, SWI_L_REPLY, req, &zero, sizeof(zero));
}

static int do_expire(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_snode *sn = cl->sn;
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const struct swarm_ref ref = swi_rd_ref(&r);
	const uint64_t ttl_ns = swi_rd_u64(&r);
	struct swi_attr *at = NULL;
	struct swi_local lo;
	uint64_t len;

	if (!swi_rd_done(&r) || !msg->req)
		return -EPROTO;
	if (!swi_local_find(sn, ref.id, &lo) && !swi_spilled_here(sn, ref.id, &len)) {
		swi_client_reply_error(cl, msg->req, -ENOENT, "this node has no copy of the object");
		return 0;
	}
	at = attr_get(sn, ref);
	if (!at) {
		swi_client_reply_error(cl, msg->req, -ENOMEM, "the node is out of memory");
		return 0;
	}
	set_ttl(at, swi_sat_add(sn->now_ns, ttl_ns));
	free_if_empty(at);
	reply_done(cl, msg->req);
	return 0;
}

/* A pin brings the object here first. */
struct swi_client_pin {
	struct swi_list link; /* cl->pin_calls */
	struct swi_client *cl;
	uint64_t req;
	uint8_t policy;
	struct swi_want want;
};

static void pin_free(struct swi_client_pin *p)
{
	swi_want_cancel(p->cl->sn, &p->want);
	swi_list_del(&p->link);
	swi_client_blocked(p->cl, -1);
	free(p);
}

static int pin_here(struct swi_snode *sn, const struct swi_local *lo, uint8_t policy)
{
	struct swi_attrs *as = &sn->attrs;
	struct swi_attr *at = attr_get(sn, lo->ref);

	if (!at)
		return -ENOMEM;
	if (policy == SWARM_PIN_HARD && at->pin != SWARM_PIN_HARD) {
		if (lo->bytes > as->hard_max || as->hard_bytes > as->hard_max - lo->bytes) {
			free_if_empty(at);
			return SWARM_EPINLIMIT;
		}
		at->bytes = lo->bytes;
	}
	set_pin(at, policy);
	return 0;
}

static void pin_came(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	struct swi_client_pin *p = swi_container_of(w, struct swi_client_pin, want);
	struct swi_snode *sn = p->cl->sn;
	char limit[160];
	struct swi_local lo;

	if (!status) {
		status = swi_local_find(sn, w->ref.id, &lo) ? pin_here(sn, &lo, p->policy)
							    : SWARM_EDELETED;
		text = swarm_strerror(status);
		swi_hold_drop(sn, offset);
	}
	if (status == SWARM_EPINLIMIT) {
		snprintf(limit, sizeof(limit), "%llu of %llu bytes are pinned hard already",
			 (unsigned long long)sn->attrs.hard_bytes,
			 (unsigned long long)sn->attrs.hard_max);
		text = limit;
	}
	if (status)
		swi_client_reply_error(p->cl, p->req, status, text);
	else
		reply_done(p->cl, p->req);
	pin_free(p);
}

static int do_pin(struct swi_client *cl, const struct swi_msg *msg)
{
	struct swi_snode *sn = cl->sn;
	struct swi_rd r = swi_rd_init(msg->body, msg->len);
	const struct swarm_ref ref = swi_rd_ref(&r);
	const uint8_t policy = swi_rd_u8(&r);
	const uint64_t timeout_ns = swi_rd_u64(&r);
	struct swi_attr *at = attr_find(sn, ref.id);

	if (!swi_rd_done(&r) || !msg->req || policy > SWARM_PIN_HARD)
		return -EPROTO;
	if (policy == SWARM_PIN_NONE) {
		if (at) {
			set_pin(at, policy);
			free_if_empty(at);
		}
		reply_done(cl, msg->req);
		return 0;
	}
	struct swi_client_pin *p = calloc(1, sizeof(*p));

	if (!p) {
		swi_client_reply_error(cl, msg->req, -ENOMEM, "the node is out of memory");
		return 0;
	}
	p->cl = cl;
	p->req = msg->req;
	p->policy = policy;
	p->want = (struct swi_want){
	    .ref = ref, .deadline_ns = swi_sat_add(sn->now_ns, timeout_ns), .cb = pin_came};
	swi_list_push_back(&cl->pin_calls, &p->link);
	swi_client_blocked(cl, 1);
	swi_want(sn, &p->want);
	return 0;
}

int swi_client_attr(struct swi_client *cl, const struct swi_msg *msg)
{
	return msg->type == SWI_L_PIN ? do_pin(cl, msg) : do_expire(cl, msg);
}

void swi_client_attrs_drop(struct swi_client *cl)
{
	while (!swi_list_empty(&cl->pin_calls))
		pin_free(swi_list_first(&cl->pin_calls, struct swi_client_pin, link));
}
