/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clients.c - see clients.h: attach, the rings, the end of a client.
 *
 * A client's memory is foreign input: a request is copied to private memory before anything in it is looked
 * at, and the positions of both rings are checked by ring.c. Nonsense condemns the client, and nothing else.
 */
#include "store/proto.h"
#include "store/snode_internal.h"

#define STEP_MAX    64u	     /* requests of one client in one step: nobody starves the others */
#define OUT_HIGH    MIB(4)   /* of replies not taken: its requests wait */
#define OUT_MAX	    MIB(256) /* and here it is cut off */
#define REQUESTS_MAX 65536u  /* unanswered */

struct out_msg {
	struct swi_list link;
	uint64_t req;
	uint32_t len;
	uint16_t type;
	uint8_t body[];
};

int swi_clients_init(struct swi_snode *sn)
{
	struct swi_clients *c = &sn->clients;

	swi_list_init(&c->list);
	swi_list_init(&c->rooms);
	swi_list_init(&c->dirty_sets);
	c->page_grant = calloc(sn->arena_bytes / SWI_PAGE, sizeof(*c->page_grant));
	c->scratch = malloc(swi_ring_body_max(SWI_RING_REQ));
	return c->page_grant && c->scratch ? 0 : -ENOMEM;
}

void swi_clients_fini(struct swi_snode *sn)
{
	struct swi_clients *c = &sn->clients;

	while (!swi_list_empty(&c->list))
		swi_client_gone(sn, swi_list_first(&c->list, struct swi_client, link));
	swi_pool_fini(&c->spare_held);
	swi_grants_fini(sn);
	free(c->page_grant);
	free(c->scratch);
	c->page_grant = NULL;
	c->scratch = NULL;
}

static void init_shm(struct swi_client_shm *shm, uint32_t number)
{
	shm->magic = SWI_SHM_MAGIC;
	shm->version = SWI_SHM_VERSION;
	shm->client = number;
	swi_ring_init((void *)((uint8_t *)shm + SWI_CLIENT_REQ_OFF));
	swi_ring_init((void *)((uint8_t *)shm + SWI_CLIENT_RSP_OFF));
}

int swi_client_attach(struct swi_snode *sn, struct swi_client_shm *shm, struct swi_doorbell *db,
		      uint32_t pid, uint32_t role, struct swi_client **out)
{
	struct swi_client *cl = calloc(1, sizeof(*cl));

	if (!cl)
		return -ENOMEM;
	cl->sn = sn;
	cl->shm = shm;
	cl->db = db;
	cl->pid = pid;
	cl->role = role;
	cl->number = ++sn->clients.next_number;
	swi_list_init(&cl->out);
	swi_list_init(&cl->grants);
	swi_list_init(&cl->held);
	swi_list_init(&cl->gets);
	swi_list_init(&cl->manys);
	swi_list_init(&cl->sets);
	swi_list_init(&cl->subs);
	swi_list_init(&cl->pin_calls);
	swi_list_init(&cl->replicates);
	cl->account = swi_account_open(sn, pid);
	swi_list_init(&cl->waits);
	swi_list_init(&cl->rooms);
	swi_list_init(&cl->dials);
	swi_list_init(&cl->syncs);
	swi_list_init(&cl->ranges);
	init_shm(shm, cl->number);
	swi_ring_attach(&cl->req, (void *)((uint8_t *)shm + SWI_CLIENT_REQ_OFF), SWI_RING_REQ);
	swi_ring_attach(&cl->rsp, (void *)((uint8_t *)shm + SWI_CLIENT_RSP_OFF), SWI_RING_RSP);
	swi_list_push_back(&sn->clients.list, &cl->link);
	sn->clients.count++;
	if (sn->hooks.client_up)
		sn->hooks.client_up(sn->hooks.ctx, cl);
	*out = cl;
	return 0;
}

void swi_client_no_quota(struct swi_client *cl)
{
	swi_account_close(cl->sn, cl->account);
	cl->account = NULL;
}

void swi_client_condemn(struct swi_client *cl, const char *what)
{
	if (cl->condemned)
		return;
	cl->condemned = true;
	cl->sn->clients.errors++;
	swi_warn(cl->sn->log, "client %u (process %u) is cut off: %s", cl->number, cl->pid, what);
}

/* ---- out ---- */

static void raise_event(struct swi_client *cl, uint32_t event)
{
	if (!cl->db || !cl->db->event)
		return;
	atomic_thread_fence(memory_order_seq_cst); /* partner: swi_event_settle() */
	cl->db->event(cl->db, cl->shm, event);
}

static int flush_out(struct swi_client *cl)
{
	int n = 0;

	while (!swi_list_empty(&cl->out)) {
		struct out_msg *m = swi_list_first(&cl->out, struct out_msg, link);

		if (swi_ring_push(&cl->rsp, m->type, 0, m->req, m->body, m->len, NULL, 0))
			break;
		cl->out_bytes -= m->len;
		swi_list_del(&m->link);
		free(m);
		n++;
	}
	if (n && cl->db)
		cl->db->ring(cl->db, cl->shm);
	for (uint32_t i = 0; n && i < SWI_EVENTS; i++)
		if (cl->late_events & 1ull << i)
			raise_event(cl, i + 1);
	if (swi_list_empty(&cl->out))
		cl->late_events = 0;
	return n;
}

static void queue_out(struct swi_client *cl, uint16_t type, uint64_t req, const void *body,
		      uint32_t len)
{
	struct out_msg *m = malloc(sizeof(*m) + len);

	if (!m || cl->out_bytes > OUT_MAX) {
		free(m);
		swi_client_condemn(cl, "it does not take its answers");
		return;
	}
	m->type = type;
	m->req = req;
	m->len = len;
	if (len)
		memcpy(m->body, body, len);
	cl->out_bytes += len;
	swi_list_push_back(&cl->out, &m->link);
}

void swi_client_send(struct swi_client *cl, uint16_t type, uint64_t req, const void *body,
		     uint32_t len)
{
	if (cl->gone || cl->condemned)
		return;
	SWI_BUG_ON(len > swi_ring_body_max(SWI_RING_RSP));
	if (!swi_list_empty(&cl->out) ||
	    swi_ring_push(&cl->rsp, type, 0, req, body, len, NULL, 0)) {
		queue_out(cl, type, req, body, len);
		return;
	}
	if (cl->db)
		cl->db->ring(cl->db, cl->shm);
}

void swi_client_event(struct swi_client *cl, uint32_t event)
{
	if (!event || event > SWI_EVENTS || cl->gone || cl->condemned)
		return;
	if (!swi_list_empty(&cl->out))
		cl->late_events |= 1ull << (event - 1);
	raise_event(cl, event);
}

void swi_client_reply_error(struct swi_client *cl, uint64_t req, int status, const char *text)
{
	uint8_t buf[1024];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	char cut[960];

	snprintf(cut, sizeof(cut), "%s", text ? text : "");
	swi_wr_u32(&w, (uint32_t)status);
	if (status < 0)
		swi_wr_str(&w, cut);
	swi_client_send(cl, SWI_L_REPLY, req, buf, w.len);
}

/* ---- in ---- */

/* Handles at most @max requests; returns how many. */
static int poll_requests(struct swi_client *cl, uint32_t max)
{
	uint32_t n = 0;

	while (n < max && !cl->condemned && cl->out_bytes <= OUT_HIGH) {
		struct swi_msg msg;
		const int rc = swi_ring_peek(&cl->req, &msg);

		if (rc == 0)
			break;
		if (rc < 0 || msg.len > swi_ring_body_max(SWI_RING_REQ)) {
			swi_client_condemn(cl, "its request ring is corrupt");
			break;
		}
		if (msg.len)
			memcpy(cl->sn->clients.scratch, msg.body, msg.len);
		msg.body = cl->sn->clients.scratch;
		if (swi_client_request(cl, &msg) < 0)
			swi_client_condemn(cl, "a request makes no sense");
		else if (cl->requests > REQUESTS_MAX)
			swi_client_condemn(cl, "too many requests at once");
		swi_ring_pop(&cl->req);
		n++;
	}
	return (int)n;
}

int swi_clients_step(struct swi_snode *sn)
{
	int n = 0;

	swi_list_for_each(it, &sn->clients.list)
	{
		struct swi_client *cl = swi_list_entry(it, struct swi_client, link);

		if (cl->condemned)
			continue;
		n += flush_out(cl);
		n += poll_requests(cl, STEP_MAX);
	}
	return n;
}

bool swi_clients_ready(struct swi_snode *sn)
{
	swi_list_for_each(it, &sn->clients.list)
	{
		struct swi_client *cl = swi_list_entry(it, struct swi_client, link);

		if (!cl->condemned && cl->out_bytes <= OUT_HIGH && swi_ring_ready(&cl->req))
			return true;
	}
	return false;
}

uint64_t swi_clients_objects(struct swi_snode *sn)
{
	uint64_t n = atomic_load_explicit(&sn->shm->objects, memory_order_relaxed);

	swi_list_for_each(it, &sn->clients.list)
	{
		struct swi_client *cl = swi_list_entry(it, struct swi_client, link);

		for (uint32_t i = 0; i < SWI_INTENT_SLOTS; i++)
			n += atomic_load_explicit(&cl->shm->intent[i].sealed, memory_order_relaxed);
	}
	return n;
}

uint64_t swi_clients_deadline_ns(struct swi_snode *sn)
{
	/* A client that takes replies out of a full ring does not say so. */
	swi_list_for_each(it, &sn->clients.list)
	{
		struct swi_client *cl = swi_list_entry(it, struct swi_client, link);

		if (!cl->condemned && !swi_list_empty(&cl->out))
			return swi_sat_add(sn->now_ns, NS_PER_MS);
	}
	return swi_grants_deadline_ns(sn);
}

/* ---- the end ---- */

void swi_client_gone(struct swi_snode *sn, struct swi_client *cl)
{
	if (cl->gone)
		return;
	/* What it said before its end counts: seals, deletes, messages of the layer above. */
	poll_requests(cl, SWI_RING_REQ / 16);
	cl->gone = true;
	swi_list_del(&cl->link); /* its pins are in no scan any more */
	sn->clients.count--;
	swi_client_requests_drop(cl);
	while (!swi_list_empty(&cl->held)) {
		struct swi_client_held *h = swi_list_first(&cl->held, struct swi_client_held, link);

		swi_hold_drop(sn, h->offset);
		swi_list_del(&h->link);
		swi_pool_put(&sn->clients.spare_held, h);
	}
	swi_grants_undo(cl);
	swi_account_close(sn, cl->account);
	if (sn->hooks.client_gone)
		sn->hooks.client_gone(sn->hooks.ctx, cl);
	while (!swi_list_empty(&cl->out)) {
		struct out_msg *m = swi_list_first(&cl->out, struct out_msg, link);

		swi_list_del(&m->link);
		free(m);
	}
	free(cl->status_text);
	free(cl);
}

bool swi_client_condemned(const struct swi_client *cl)
{
	return cl->condemned;
}

uint32_t swi_client_role(const struct swi_client *cl)
{
	return cl->role;
}

uint32_t swi_client_pid(const struct swi_client *cl)
{
	return cl->pid;
}

void *swi_client_user(const struct swi_client *cl)
{
	return cl->user;
}

void swi_client_set_user(struct swi_client *cl, void *user)
{
	cl->user = user;
}
