/* SPDX-License-Identifier: Apache-2.0 */
/* calls.c - the public calls that ask the node core: wait, list, explain, status, peer. Any thread. */
#include "store/store_internal.h"

#define ANSWER_NS (10 * NS_PER_S) /* for the node to answer what needs no waiting */

/* ---- wait ---- */

#define WAIT_MAX 5000u /* references in one request */

struct waited {
	uint8_t *ready;
	uint32_t count, n;
};

static void got_wait(struct swi_call *call, int status, struct swi_rd *body)
{
	struct waited *w = call->owner;
	uint32_t len;

	if (status == -ETIMEDOUT)
		(void)swi_rd_bytes(body, &len); /* the text */
	else if (status)
		return;
	w->n = swi_rd_u32(body);
	const uint8_t *ready = swi_rd_raw(body, w->count);

	if (!ready)
		call->status = -EPROTO;
	else
		memcpy(w->ready, ready, w->count);
}

/* Those already in local memory need no question. */
static uint32_t look_local(struct swarm_store *st, const struct swarm_ref *refs, uint32_t count,
			   uint8_t *ready)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < count; i++)
		n += ready[i] = swi_lc_contains(st->lc, refs[i]) ? 1 : 0;
	return n;
}

static int wait_asked(struct swarm_store *st, const struct swarm_ref *refs, uint32_t count,
		      uint32_t min, uint64_t timeout_ns, uint8_t *ready)
{
	struct waited w = {.ready = ready, .count = count};
	const uint32_t cap = 16 + count * 20;
	uint8_t *body = malloc(cap);
	struct swi_wr wr = swi_wr_init(body, cap);
	int rc, status = 0;

	if (!body)
		return -ENOMEM;
	swi_wr_u32(&wr, count);
	swi_wr_u32(&wr, min);
	swi_wr_u64(&wr, timeout_ns);
	for (uint32_t i = 0; i < count; i++)
		swi_wr_ref(&wr, refs[i]);
	rc = swi_lc_call(st->lc, SWI_L_WAIT, body, wr.len, timeout_ns, got_wait, &w, &status);
	free(body);
	return rc ? rc : status ? status : (int)w.n;
}

int swarm_store_wait(struct swarm_store *store, const struct swarm_ref *refs, uint32_t count,
		     uint32_t min, uint64_t timeout_ns, uint8_t *out_ready)
{
	uint8_t *ready = calloc(count ? count : 1, 1);
	int rc;

	if (!ready)
		return -ENOMEM;
	if (min > count || count > WAIT_MAX)
		rc = -EINVAL;
	else
		rc = (int)look_local(store, refs, count, ready);
	if (rc >= 0 && (uint32_t)rc < min)
		rc = wait_asked(store, refs, count, min, timeout_ns, ready);
	if (out_ready && (rc >= 0 || rc == -ETIMEDOUT))
		memcpy(out_ready, ready, count);
	free(ready);
	return rc;
}

/* ---- sync ---- */

static int sync_asked(struct swarm_store *st, const struct swarm_ref *refs, uint32_t count,
		      uint64_t timeout_ns)
{
	const uint32_t cap = 16 + count * 20;
	uint8_t *body = malloc(cap);
	struct swi_wr w = swi_wr_init(body, cap);
	int rc, status = 0;

	if (!body)
		return -ENOMEM;
	swi_wr_u32(&w, count);
	swi_wr_u64(&w, timeout_ns);
	for (uint32_t i = 0; i < count; i++)
		swi_wr_ref(&w, refs[i]);
	rc = swi_lc_call(st->lc, SWI_L_SYNC, body, w.len, timeout_ns, NULL, NULL, &status);
	free(body);
	return rc ? rc : status;
}

int swarm_store_sync(struct swarm_store *store, const struct swarm_ref *refs, uint32_t count,
		     uint64_t timeout_ns)
{
	const uint64_t end = swi_sat_add(swi_now(swi_env_real()), timeout_ns);
	uint32_t done = 0;
	int rc = 0;

	do { /* the message of an empty list still asks whether anything can be kept */
		const uint32_t n = (uint32_t)swi_min_u64(count - done, WAIT_MAX);
		const uint64_t now = swi_now(swi_env_real());

		rc = sync_asked(store, refs + done, n,
				timeout_ns == SWARM_FOREVER ? SWARM_FOREVER : end > now ? end - now : 0);
		done += n;
	} while (!rc && done < count);
	return rc;
}

/* ---- list ---- */

struct listed {
	struct swarm_object_info *rows;
	uint64_t max, have, next, total;
};

static void got_list(struct swi_call *call, int status, struct swi_rd *body)
{
	struct listed *l = call->owner;

	if (status)
		return;
	l->next = swi_rd_u64(body);
	l->total = swi_rd_u64(body);
	const uint32_t n = swi_rd_u32(body);

	for (uint32_t i = 0; i < n && !body->bad; i++) {
		struct swarm_object_info row = {.ref = swi_rd_ref(body)};

		row.len = swi_rd_u64(body);
		row.flags = swi_rd_u32(body);
		if (l->have < l->max && !body->bad)
			l->rows[l->have] = row;
		l->have++;
	}
	if (body->bad)
		call->status = -EPROTO;
}

int64_t swarm_store_list(struct swarm_store *store, struct swarm_object_info *out_rows, uint64_t max)
{
	struct listed l = {.rows = out_rows, .max = out_rows ? max : 0};

	do {
		uint8_t body[16];
		struct swi_wr w = swi_wr_init(body, sizeof(body));
		int rc, status = 0;

		swi_wr_u64(&w, l.next);
		swi_wr_u32(&w, UINT32_MAX);
		rc = swi_lc_call(store->lc, SWI_L_LIST, body, w.len, ANSWER_NS, got_list, &l, &status);
		if (rc || status)
			return rc ? rc : status;
	} while (l.next && l.have < l.max);
	return (int64_t)(l.next ? swi_max_u64(l.total, l.have) : l.have);
}

/* ---- explain, peer ---- */

struct text {
	char *buf;
	size_t len;
};

static void got_text(struct swi_call *call, int status SWI_UNUSED, struct swi_rd *body)
{
	struct text *t = call->owner;
	uint32_t n;
	const char *s = swi_rd_bytes(body, &n);

	if (s && t->len)
		snprintf(t->buf, t->len, "%.*s", (int)n, s);
}

int swarm_store_explain(struct swarm_store *store, struct swarm_ref ref, char *text, size_t text_len)
{
	struct text t = {.buf = text, .len = text_len};
	uint8_t body[32];
	struct swi_wr w = swi_wr_init(body, sizeof(body));
	int rc, status = 0;

	if (text_len)
		text[0] = '\0';
	swi_wr_ref(&w, ref);
	rc = swi_lc_call(store->lc, SWI_L_EXPLAIN, body, w.len, ANSWER_NS, got_text, &t, &status);
	if (rc && text_len)
		snprintf(text, text_len, "%s", swarm_strerror(rc));
	return rc ? rc : status;
}

int swarm_store_peer(struct swarm_store *store, const char *address, uint64_t timeout_ns)
{
	uint8_t body[128];
	struct swi_wr w = swi_wr_init(body, sizeof(body));
	int rc, status = 0;

	if (!address || strlen(address) > 63)
		return -EINVAL;
	swi_wr_str(&w, address);
	swi_wr_u64(&w, timeout_ns);
	rc = swi_lc_call(store->lc, SWI_L_PEER, body, w.len, timeout_ns, NULL, NULL, &status);
	return rc ? rc : status < 0 ? status : 0;
}

/* ---- status ---- */

struct pieces {
	char *text;
	uint64_t have, total;
};

static void got_piece(struct swi_call *call, int status, struct swi_rd *body)
{
	struct pieces *p = call->owner;
	uint32_t n;

	if (status)
		return;
	const uint64_t total = swi_rd_u64(body);
	const void *bytes = swi_rd_bytes(body, &n);

	if (!p->have)
		p->total = total;
	if (!bytes || p->total != total || n > p->total - p->have || total > MIB(64)) {
		call->status = -EPROTO;
		return;
	}
	char *grown = realloc(p->text, p->have + n + 1);

	if (!grown) {
		call->status = -ENOMEM;
		return;
	}
	p->text = grown;
	memcpy(p->text + p->have, bytes, n);
	p->have += n;
	p->text[p->have] = '\0';
}

int swarm_store_status(struct swarm_store *store, char **out_json)
{
	struct pieces p = {0};
	int rc, status = 0;

	do {
		uint8_t body[96];
		struct swi_wr w = swi_wr_init(body, sizeof(body));
		const uint64_t before = p.have;

		swi_wr_str(&w, "store");
		swi_wr_u64(&w, p.have);
		rc = swi_wr_ok(&w) ? swi_lc_call(store->lc, SWI_L_STATUS, body, w.len, ANSWER_NS,
						 got_piece, &p, &status)
				   : -EINVAL;
		if (!rc && !status && p.have == before)
			rc = -EPROTO;
	} while (!rc && !status && p.have < p.total);
	if (rc || status) {
		free(p.text);
		return rc ? rc : status;
	}
	*out_json = p.text;
	return 0;
}
