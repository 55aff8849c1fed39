/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.c - many gets or puts in one round trip to the node core. Any thread; client side.
 *
 * What lies in local memory is taken as ever, without a question. All that is missing goes into one request, and
 * the holds of its answer end by one message. Puts ask for all the room that they will need at once;
 * what that did not bring (or another thread took) is asked for one by one, so it is a hint, never a promise.
 */
#include "store/lc.h"
#include "transport/base/env.h"

#define AHEAD	   8u	   /* look-ups whose lines are on their way */
#define ROOM_CALLS 64u	   /* requests for room in flight */
#define ROOM_MAX   MIB(16) /* of one of them: walk.c looks no farther */

/* ---- gets ---- */

struct found {
	uint64_t offset;
	uint32_t gen20;
	int status;
};

struct asked {
	struct found *row;
	uint32_t n;
};

static void read_row(struct swi_rd *body, struct found *f)
{
	f->status = (int)swi_rd_u32(body);
	f->offset = swi_rd_u64(body);
	f->gen20 = swi_rd_u32(body);
	(void)swi_rd_u64(body); /* the length: the header says it too */
}

static void got_many(struct swi_call *call, int status, struct swi_rd *body)
{
	struct asked *a = call->owner;

	if (status)
		return;
	if (swi_rd_u32(body) != a->n)
		body->bad = true;
	for (uint32_t i = 0; i < a->n && !body->bad; i++)
		read_row(body, &a->row[i]);
	if (!swi_rd_done(body))
		call->status = -EPROTO;
}

/* Ends the holds that an answer gave. */
static void end_holds(struct swi_lc *lc, const struct found *row, uint32_t n, bool may_wait)
{
	uint8_t *buf = malloc(8 + n * 8);
	struct swi_wr w = swi_wr_init(buf, 8 + n * 8);
	uint32_t held = 0;

	for (uint32_t i = 0; i < n; i++)
		held += !row[i].status;
	if (!buf || !held) {
		free(buf); /* without memory they end with this process */
		return;
	}
	swi_wr_u32(&w, held);
	for (uint32_t i = 0; i < n; i++)
		if (!row[i].status)
			swi_wr_u64(&w, row[i].offset);
	if (swi_lc_try_post_quiet(lc, SWI_L_HELD_MANY, buf, w.len) == -EAGAIN && may_wait)
		(void)!swi_lc_post(lc, SWI_L_HELD_MANY, buf, w.len, NULL);
	free(buf);
}

void swi_batch_undo(struct swi_lc *lc, struct swi_rd *body)
{
	const uint32_t n = swi_rd_u32(body);
	struct found *row = n <= SWARM_MANY_MAX ? calloc(n + 1, sizeof(*row)) : NULL;

	for (uint32_t i = 0; row && i < n; i++)
		read_row(body, &row[i]);
	if (row && !body->bad)
		end_holds(lc, row, n, false);
	free(row);
}

/* Asks for those whose status is -ENOENT. 0: every status of theirs is the answer's. */
static int ask(struct swi_lc *lc, const struct swarm_ref *refs, uint32_t count, uint32_t missing,
	       uint64_t timeout_ns, struct swarm_view *views, int *status)
{
	const uint32_t cap = 12 + missing * 20;
	struct asked a = {.row = calloc(missing, sizeof(*a.row)), .n = missing};
	uint8_t *body = malloc(cap);
	struct swi_wr w = swi_wr_init(body, cap);
	int rc = -ENOMEM, answer = 0;

	if (!a.row || !body)
		goto out;
	swi_wr_u64(&w, timeout_ns);
	swi_wr_u32(&w, missing);
	for (uint32_t i = 0; i < count; i++)
		if (status[i] == -ENOENT)
			swi_wr_ref(&w, refs[i]);
	rc = swi_lc_call(lc, SWI_L_GET_MANY, body, w.len, timeout_ns, got_many, &a, &answer);
	rc = rc ? rc : answer;
	if (rc)
		goto out;
	for (uint32_t i = 0, k = 0; i < count; i++) {
		if (status[i] != -ENOENT)
			continue;
		const struct found *f = &a.row[k++];

		status[i] = f->status ? f->status
				      : swi_lc_adopt(lc, refs[i], f->offset, f->gen20, &views[i]);
	}
	end_holds(lc, a.row, missing, true); /* by now our pins stand */
out:
	free(a.row);
	free(body);
	return rc;
}

int swi_lc_get_many(struct swi_lc *lc, const struct swarm_ref *refs, uint32_t count,
		    uint64_t timeout_ns, struct swarm_view *views, int *status)
{
	uint32_t missing = 0;
	int got = 0, rc = 0;

	memset(views, 0, count * sizeof(*views));
	for (uint32_t i = 0; i < count; i++) {
		if (i + AHEAD < count)
			swi_index_prefetch_look(&lc->index, swi_index_key(refs[i + AHEAD].id));
		status[i] = swi_lc_try_get(lc, refs[i], &views[i]);
		missing += status[i] == -ENOENT;
	}
	if (missing && timeout_ns)
		rc = ask(lc, refs, count, missing, timeout_ns, views, status);
	for (uint32_t i = 0; i < count; i++) {
		if (rc && status[i] == -ENOENT)
			status[i] = rc;
		got += !status[i];
	}
	return got;
}

/* ---- puts ---- */

struct room_call {
	struct swi_call call;
	struct swi_lc *lc;
	bool large, posted;
};

static void got_room(struct swi_call *call, int status, struct swi_rd *body)
{
	const struct room_call *r = call->owner;

	if (status)
		return;
	const uint64_t offset = swi_rd_u64(body);
	const uint64_t bytes = swi_rd_u64(body);
	const uint32_t gen = swi_rd_u32(body);

	if (!body->bad)
		swi_lc_grant(r->lc, offset, bytes, gen, r->large);
}

struct room_plan {
	struct swi_lc *lc;
	struct room_call *call;
	uint32_t n;
	uint64_t left; /* bytes that may still be asked for */
};

static void plan_room(struct room_plan *p, uint64_t bytes, bool large)
{
	struct room_call *r = &p->call[p->n];
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	if (p->n == ROOM_CALLS || !bytes || bytes > p->left)
		return;
	*r = (struct room_call){.lc = p->lc, .large = large};
	r->call.on_reply = got_room;
	r->call.owner = r;
	swi_wr_u64(&w, bytes);
	swi_wr_u8(&w, large);
	swi_wr_u64(&w, 0); /* now, or not at all: each put waits for itself */
	if (swi_lc_post(p->lc, SWI_L_CHUNK, buf, w.len, &r->call))
		return;
	p->left -= bytes;
	p->n++;
}

static void ask_room(struct swi_lc *lc, const struct swarm_put *puts, uint32_t count)
{
	const uint64_t chunk = lc->index.head->chunk_bytes;
	const uint64_t most = swi_min_u64(ROOM_MAX, lc->arena_bytes / 16);
	uint64_t small = 0, large = 0, have = swi_chunks_room(lc);
	struct room_plan p = {.lc = lc, .left = lc->arena_bytes / 2};

	p.call = calloc(ROOM_CALLS, sizeof(*p.call));
	if (!p.call)
		return;
	for (uint32_t i = 0; i < count; i++) {
		const uint64_t ext =
		    puts[i].len < lc->arena_bytes ? swi_extent_bytes(puts[i].len) : 0;

		if (!ext || swi_lc_contains(lc, puts[i].ref))
			continue;
		if (ext < SWI_LARGE_MIN) {
			small += ext;
			continue;
		}
		if (large && large + ext > most) {
			plan_room(&p, large, true);
			large = 0;
		}
		large += ext;
	}
	plan_room(&p, large, true);
	for (; small > have; have += chunk)
		plan_room(&p, chunk, false);
	for (uint32_t i = 0; i < p.n; i++)
		(void)!swi_lc_wait(lc, &p.call[i].call, SWI_LC_GRACE_NS);
	free(p.call);
}

static int put_one(struct swi_lc *lc, const struct swarm_put *put, uint64_t timeout_ns)
{
	struct swarm_buf buf;
	const int rc = swi_lc_create_object(lc, put->ref, put->len, timeout_ns, &buf);

	if (rc)
		return rc;
	if (put->len)
		memcpy(buf.data, put->data, put->len);
	return swi_lc_seal(lc, &buf);
}

int swi_lc_put_many(struct swi_lc *lc, const struct swarm_put *puts, uint32_t count,
		    uint64_t timeout_ns, int *status)
{
	const bool limited = timeout_ns && timeout_ns != UINT64_MAX;
	const uint64_t end = limited ? swi_sat_add(swi_now(swi_env_real()), timeout_ns) : 0;
	int done = 0;

	ask_room(lc, puts, count);
	for (uint32_t i = 0; i < count; i++) {
		int rc = put_one(lc, &puts[i], limited ? 0 : timeout_ns);

		if (rc == SWARM_EFULL && limited) { /* the clock is asked only when somebody has to wait */
			const uint64_t now = swi_now(swi_env_real());

			if (now < end)
				rc = put_one(lc, &puts[i], end - now);
		}
		if (status)
			status[i] = rc;
		done += !rc;
	}
	return done;
}
