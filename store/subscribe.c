/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subscribe.c - notifications of objects, client side: a ring of rows that the pump fills and the subscriber takes.
 *
 * The node sends no more rows than the ring has room for: what was taken is told to it (SUB_ACK) by quarters,
 * and whenever the ring was emptied. State under lc->note_lock, which the pump takes too.
 */
#include "store/store_internal.h"

#define CAPACITY_DEFAULT 1024u
#define ANSWER_NS	 (10 * NS_PER_S)

struct swarm_sub {
	struct swi_list link; /* lc->subs */
	struct swi_lc *lc;
	uint32_t number, capacity;
	struct swarm_event *ring;
	uint64_t head, tail; /* rows ever taken, ever put */
	uint32_t untold;     /* taken and not yet told to the node */
	_Atomic uint32_t waiting; /* rows: tail - head, for who waits without the lock */
	struct swi_event event;
};

static struct swarm_sub *find(struct swi_lc *lc, uint32_t number)
{
	swi_list_for_each(it, &lc->subs)
	{
		struct swarm_sub *sub = swi_list_entry(it, struct swarm_sub, link);

		if (sub->number == number)
			return sub;
	}
	return NULL;
}

void swi_sub_note(struct swi_lc *lc, struct swi_rd *body)
{
	const uint32_t number = swi_rd_u32(body);
	const uint32_t n = swi_rd_u32(body);

	pthread_mutex_lock(&lc->note_lock);
	struct swarm_sub *sub = find(lc, number);

	for (uint32_t i = 0; sub && i < n; i++) {
		struct swarm_event ev = {.kind = swi_rd_u8(body)};

		ev.ref = swi_rd_ref(body);
		ev.len = swi_rd_u64(body);
		if (body->bad || sub->tail - sub->head == sub->capacity)
			break; /* a node that keeps to the rules never sends more */
		sub->ring[sub->tail++ % sub->capacity] = ev;
		atomic_fetch_add(&sub->waiting, 1);
	}
	if (sub && sub->tail != sub->head)
		swi_event_raise(&sub->event);
	pthread_mutex_unlock(&lc->note_lock);
}

/* ---- subscribing ---- */

static int ask(struct swarm_sub *sub, const struct swarm_sub_opts *o, struct swi_call *call)
{
	const uint32_t cap = 64 + o->ref_count * 20;
	uint8_t *body = malloc(cap);
	struct swi_wr w = swi_wr_init(body, cap);
	int rc;

	if (!body)
		return -ENOMEM;
	swi_wr_u32(&w, sub->number);
	swi_wr_u32(&w, o->kinds ? o->kinds : 1u << SWARM_EVENT_SEALED | 1u << SWARM_EVENT_DELETED);
	swi_wr_u32(&w, sub->capacity);
	swi_wr_u8(&w, (uint8_t)o->filter);
	swi_wr_u8(&w, (uint8_t)o->prefix_len);
	swi_wr_raw(&w, o->prefix, sizeof(o->prefix));
	swi_wr_u32(&w, o->ref_count);
	for (uint32_t i = 0; i < o->ref_count; i++)
		swi_wr_ref(&w, o->refs[i]);
	rc = swi_lc_post(sub->lc, SWI_L_SUBSCRIBE, body, w.len, call);
	free(body);
	return rc;
}

static bool opts_ok(const struct swarm_sub_opts *o)
{
	const uint32_t kinds = 1u << SWARM_EVENT_SEALED | 1u << SWARM_EVENT_DELETED;

	return !(o->kinds & ~kinds) && o->capacity <= SWARM_SUB_CAPACITY_MAX &&
	       o->filter <= SWARM_SUB_REFS && o->prefix_len <= sizeof(o->prefix) &&
	       o->ref_count <= SWARM_MANY_MAX && (!o->ref_count || o->refs) &&
	       (o->filter == SWARM_SUB_REFS || !o->ref_count);
}

int swi_sub_begin(struct swi_lc *lc, const struct swarm_sub_opts *o, struct swi_call *call,
		  struct swarm_sub **out)
{
	struct swarm_sub *sub = opts_ok(o) ? calloc(1, sizeof(*sub)) : NULL;
	int rc;

	if (!sub)
		return opts_ok(o) ? -ENOMEM : -EINVAL;
	sub->lc = lc;
	sub->event.fd = -1;
	sub->capacity = o->capacity ? o->capacity : CAPACITY_DEFAULT;
	sub->ring = calloc(sub->capacity, sizeof(*sub->ring));
	if (!sub->ring) {
		free(sub);
		return -ENOMEM;
	}
	pthread_mutex_lock(&lc->note_lock);
	sub->number = ++lc->next_note;
	swi_list_push_back(&lc->subs, &sub->link); /* rows may come before the answer is read */
	pthread_mutex_unlock(&lc->note_lock);
	rc = ask(sub, o, call);
	if (rc) {
		swi_sub_destroy(sub);
		return rc;
	}
	*out = sub;
	return 0;
}

int swi_sub_create(struct swi_lc *lc, const struct swarm_sub_opts *o, struct swarm_sub **out)
{
	struct swi_call call = {0};
	struct swarm_sub *sub;
	int rc = swi_sub_begin(lc, o, &call, &sub);

	if (rc)
		return rc;
	rc = swi_lc_wait(lc, &call, ANSWER_NS + SWI_LC_GRACE_NS);
	rc = rc ? rc : call.status;
	if (rc) {
		swi_sub_destroy(sub);
		return rc;
	}
	*out = sub;
	return 0;
}

void swi_sub_destroy(struct swarm_sub *sub)
{
	uint8_t buf[4];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (!sub)
		return;
	swi_wr_u32(&w, sub->number);
	(void)!swi_lc_post(sub->lc, SWI_L_SUB_END, buf, w.len, NULL);
	pthread_mutex_lock(&sub->lc->note_lock);
	swi_list_del(&sub->link);
	pthread_mutex_unlock(&sub->lc->note_lock);
	swi_event_close(&sub->event);
	free(sub->ring);
	free(sub);
}

/* ---- taking ---- */

static bool some(void *arg)
{
	const struct swarm_sub *sub = arg;

	return atomic_load(&sub->waiting) != 0;
}

/* *out_tell: rows that the node is to be told of now. */
static uint32_t take(struct swarm_sub *sub, struct swarm_event *out, uint32_t max, bool *out_empty,
		     uint32_t *out_tell)
{
	uint32_t n = 0;

	pthread_mutex_lock(&sub->lc->note_lock);
	for (; n < max && sub->head != sub->tail; n++)
		out[n] = sub->ring[sub->head++ % sub->capacity];
	atomic_fetch_sub(&sub->waiting, n);
	sub->untold += n;
	*out_empty = sub->head == sub->tail;
	*out_tell = *out_empty || sub->untold >= sub->capacity / 4 ? sub->untold : 0;
	sub->untold -= *out_tell;
	pthread_mutex_unlock(&sub->lc->note_lock);
	return n;
}

static int tell(struct swarm_sub *sub, uint32_t n)
{
	uint8_t buf[8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_u32(&w, sub->number);
	swi_wr_u32(&w, n);
	return swi_lc_post(sub->lc, SWI_L_SUB_ACK, buf, w.len, NULL);
}

int swi_sub_next(struct swarm_sub *sub, uint64_t timeout_ns, struct swarm_event *out, uint32_t max)
{
	uint32_t n = 0, told = 0;
	bool empty;
	int rc = max ? 0 : -EINVAL;

	while (!rc && !n) {
		rc = swi_lc_wait_for(sub->lc, some, sub, timeout_ns);
		n = take(sub, out, max, &empty, &told);
		if (told && tell(sub, told) && !n)
			return SWARM_ENODAEMON;
		if (!empty)
			continue;
		swi_event_settle(&sub->event, !n);
		pthread_mutex_lock(&sub->lc->note_lock);
		if (sub->head != sub->tail)
			swi_event_raise(&sub->event);
		pthread_mutex_unlock(&sub->lc->note_lock);
	}
	return n ? (int)n : rc;
}

int swi_sub_fd(struct swarm_sub *sub)
{
	struct swi_event ev;
	uint8_t buf[8];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	int rc = sub->event.number ? 0 : swi_event_open(sub->lc, &ev);

	if (rc || sub->event.number)
		return rc ? rc : sub->event.fd;
	pthread_mutex_lock(&sub->lc->note_lock);
	sub->event = ev;
	if (sub->head != sub->tail)
		swi_event_raise(&sub->event);
	pthread_mutex_unlock(&sub->lc->note_lock);
	swi_wr_u32(&w, sub->number);
	swi_wr_u32(&w, ev.number);
	rc = swi_lc_post(sub->lc, SWI_L_SUB_EVENT, buf, w.len, NULL);
	return rc ? rc : ev.fd;
}
