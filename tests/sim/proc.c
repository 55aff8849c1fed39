/* SPDX-License-Identifier: Apache-2.0 */
/* proc.c - simulated processes on the real client library (sim.h). */
#include <signal.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tests/sim/sim.h"

#define PATIENCE_NS NS_PER_MS
#define START_NS  (3 * NS_PER_MS)
#define GET_LIMIT (60 * NS_PER_S)
#define HALF_PERCENT 3u

/* ---- what tasks compute ---- */

static uint32_t large_one_in = 16; /* one thread runs one simulation after the other */

void sim_large_results(uint32_t one_in)
{
	large_one_in = one_in;
}

uint64_t sim_digest(const void *p, uint64_t len)
{
	return XXH3_64bits(p, len);
}

uint64_t sim_mix(uint64_t a, uint64_t b)
{
	uint64_t s = a * 0x9e3779b97f4a7c15ull ^ b;

	return swi_splitmix64(&s);
}

uint64_t sim_result_len(uint64_t digest, uint32_t i)
{
	const uint64_t r = sim_mix(digest, i + 100);

	if (r % 16 % large_one_in == 0)
		return KIB(64) + r / 16 % KIB(200);
	return r / 16 % KIB(8);
}

void sim_result_fill(uint64_t digest, uint32_t i, uint8_t *out, uint64_t len)
{
	uint64_t st = sim_mix(digest, i + 7), at = 0;

	while (at < len) {
		const uint64_t w = swi_splitmix64(&st);
		const uint64_t n = swi_min_u64(8, len - at);

		memcpy(out + at, &w, n);
		at += n;
	}
}

uint64_t sim_result_digest(uint64_t digest, uint32_t i)
{
	const uint64_t len = sim_result_len(digest, i);
	uint8_t *p = malloc(len + 1);
	uint64_t d;

	SWI_BUG_ON(!p);
	sim_result_fill(digest, i, p, len);
	d = sim_digest(p, len);
	free(p);
	return d;
}

void sim_child_spec(struct swarm_oid parent, uint32_t home, struct swarm_ref module, struct swi_spec *out)
{
	*out = (struct swi_spec){.task = swi_task_id(parent, 0), .parent = parent, .home = home,
				 .retries = 1000, .module = module, .return_count = 1, .arg_count = 1,
				 .need = {.cpu = SWARM_RESOURCE_UNIT}};
	snprintf(out->function, sizeof(out->function), "work");
}

/* ---- life ---- */

struct sim_proc *sim_proc_new(struct sim_node *node, enum sim_kind_of_proc kind, uint32_t number)
{
	struct sim_proc *p = calloc(1, sizeof(*p));

	SWI_BUG_ON(!p);
	p->node = node;
	p->kind = kind;
	p->number = number;
	p->born_ns = sim_now(node->s) + (kind == SIM_DRIVER ? 0 : START_NS);
	return p;
}

static void behind_drop(struct sim_proc *p)
{
	for (uint32_t i = 0; i < p->behind_count; i++)
		free(p->behind[i].body);
	p->behind_count = 0;
}

static void exec_drop(struct sim_proc *p)
{
	free(p->exec.body);
	p->exec = (struct sim_exec){0};
}

void sim_proc_free(struct sim_proc *p)
{
	if (!p)
		return;
	exec_drop(p);
	behind_drop(p);
	sim_guest_free(p);
	swi_lc_destroy(p->lc);
	free(p->shm);
	free(p);
}

void sim_proc_die(struct sim_proc *p, int wait_status)
{
	struct sim_node *n = p->node;

	if (p->cl)
		swi_client_gone(n->sn, p->cl);
	p->cl = NULL;
	if (p->kind == SIM_WORKER)
		swi_runner_worker_died(swi_node_runner(n->node), p->number, wait_status);
}

void sim_proc_post(struct sim_proc *p, uint16_t type, const void *body, uint32_t len)
{
	const int rc = swi_lc_try_post(p->lc, type, body, len, NULL);

	if (rc)
		sim_fail(p->node->s, "a request was refused: %d", rc);
}

void sim_proc_submit(struct sim_proc *p, const struct swi_spec *s, const struct swarm_arg *args)
{
	uint8_t buf[2048];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_spec_encode(&w, s, args);
	SWI_BUG_ON(!swi_wr_ok(&w));
	sim_proc_post(p, SWI_L_SUBMIT, buf, w.len);
}

/* Takes over @body: attempt and spec. */
static void begin(struct sim_proc *p, uint8_t *body, uint32_t len)
{
	struct sim_exec *e = &p->exec;
	struct swi_rd rd = swi_rd_init(body, len);

	e->active = true;
	e->begun_ns = sim_now(p->node->s);
	e->attempt = swi_rd_u32(&rd);
	e->body = body;
	if (swi_spec_decode(body + 4, len - 4, &e->spec))
		sim_fail(p->node->s, "a worker got a spec that does not decode");
	sim_trace(p->node->s, "n%u worker %u runs %s %016llx attempt %u", p->node->index, p->number,
		  e->spec.function, (unsigned long long)e->spec.task.w[0], e->attempt);
}

static void begin_next(struct sim_proc *p)
{
	const struct sim_behind b = p->behind[0];

	if (!p->behind_count)
		return;
	memmove(p->behind, p->behind + 1, --p->behind_count * sizeof(b));
	begin(p, b.body, b.len);
}

/* As a real worker does when its task takes long. */
static int give_back(struct sim_proc *p)
{
	const int n = (int)p->behind_count;

	for (int i = 0; i < n; i++) {
		struct swi_rd rd = swi_rd_init(p->behind[i].body, 4);
		struct swi_spec spec;
		uint8_t buf[64];
		struct swi_wr w = swi_wr_init(buf, sizeof(buf));

		SWI_BUG_ON(swi_spec_decode(p->behind[i].body + 4, p->behind[i].len - 4, &spec));
		swi_wr_oid(&w, spec.task);
		swi_wr_u32(&w, swi_rd_u32(&rd));
		swi_wr_u32(&w, (uint32_t)-EAGAIN);
		swi_wr_str(&w, "");
		swi_wr_u32(&w, 0);
		sim_proc_post(p, SWI_L_DONE, buf, w.len);
	}
	behind_drop(p);
	return n;
}

static void upper(void *ctx, const struct swi_msg *msg)
{
	struct sim_proc *p = ctx;
	uint8_t *body;

	if (msg->type == SWI_L_STOP) {
		p->leaving = true;
		return;
	}
	if (msg->type != SWI_L_EXEC)
		return;
	body = malloc(msg->len);
	SWI_BUG_ON(!body);
	memcpy(body, msg->body, msg->len);
	if (!p->exec.active) {
		begin(p, body, msg->len);
	} else if (p->behind_count == SIM_BEHIND_MAX) {
		free(body);
		sim_fail(p->node->s, "a busy worker got %u tasks", SIM_BEHIND_MAX);
	} else {
		p->behind[p->behind_count++] = (struct sim_behind){body, msg->len};
	}
}

static void attach(struct sim_proc *p)
{
	static const uint32_t role[] = {
	    [SIM_WORKER] = SWI_ROLE_WORKER, [SIM_DRIVER] = SWI_ROLE_DRIVER, [SIM_GUEST] = SWI_ROLE_STORE};
	struct sim_node *n = p->node;
	struct swi_lc_opts lo = {.arena = n->arena, .index = n->shm, .upper = upper, .upper_ctx = p};

	p->shm = aligned_alloc(SWI_PAGE, SWI_CLIENT_BYTES);
	SWI_BUG_ON(!p->shm);
	memset(p->shm, 0, SWI_CLIENT_BYTES);
	SWI_BUG_ON(swi_client_attach(n->sn, p->shm, NULL, 1000 + p->number, role[p->kind], &p->cl));
	lo.shm = p->shm;
	SWI_BUG_ON(swi_lc_create(&lo, &p->lc));
	if (p->kind == SIM_WORKER) {
		uint8_t buf[4];
		struct swi_wr w = swi_wr_init(buf, sizeof(buf));

		swi_wr_u32(&w, p->number);
		sim_proc_post(p, SWI_L_READY, buf, w.len);
	}
}

/* ---- objects ---- */

static void got(struct swi_call *call, int status, struct swi_rd *body)
{
	struct sim_fetch *f = call->owner;

	f->status = status;
	if (status < 0)
		return;
	f->offset = swi_rd_u64(body);
	f->gen = swi_rd_u32(body);
	f->len = swi_rd_u64(body);
}

int sim_proc_get(struct sim_proc *p, struct swarm_ref ref, struct swarm_view *out)
{
	struct sim_fetch *f = &p->fetch;
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	int rc;

	if (f->asked) {
		if (!f->call.done)
			return -EAGAIN;
		f->asked = false;
		return f->status < 0 ? f->status : swi_lc_accept(p->lc, ref, f->offset, f->gen, out);
	}
	rc = swi_lc_try_get(p->lc, ref, out);
	if (rc != -ENOENT)
		return rc;
	*f = (struct sim_fetch){.call = {.on_reply = got, .owner = f}, .asked = true};
	swi_wr_ref(&w, ref);
	swi_wr_u64(&w, GET_LIMIT);
	rc = swi_lc_try_post(p->lc, SWI_L_GET, buf, w.len, &f->call);
	if (rc)
		sim_fail(p->node->s, "a get was refused: %d", rc);
	return -EAGAIN;
}

static void got_room(struct swi_call *call, int status, struct swi_rd *body)
{
	struct sim_proc *p = call->owner;
	uint64_t offset, bytes;

	p->room.status = status;
	if (status < 0)
		return;
	offset = swi_rd_u64(body);
	bytes = swi_rd_u64(body);
	swi_lc_grant(p->lc, offset, bytes, swi_rd_u32(body), p->room.large);
}

static int ask_room(struct sim_proc *p, uint64_t len)
{
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	uint64_t bytes;
	bool large;
	int rc;

	swi_lc_want_chunk(p->lc, len, &bytes, &large);
	p->room = (struct sim_room){.call = {.on_reply = got_room, .owner = p}, .asked = true, .large = large};
	swi_wr_u64(&w, bytes);
	swi_wr_u8(&w, large);
	swi_wr_u64(&w, GET_LIMIT);
	rc = swi_lc_try_post(p->lc, SWI_L_CHUNK, buf, w.len, &p->room.call);
	if (rc)
		sim_fail(p->node->s, "a request for room was refused: %d", rc);
	return -EAGAIN;
}

int sim_proc_make(struct sim_proc *p, struct swarm_ref ref, uint64_t len, struct swarm_buf *buf)
{
	int rc;

	if (p->room.asked) {
		if (!p->room.call.done)
			return -EAGAIN;
		p->room.asked = false;
		if (p->room.status < 0)
			return p->room.status;
	}
	rc = swi_lc_try_create(p->lc, ref, len, buf);
	return rc == -EAGAIN ? ask_room(p, len) : rc;
}

int sim_proc_put(struct sim_proc *p, struct swarm_ref ref, const void *data, uint64_t len)
{
	struct swarm_buf buf;
	const int rc = sim_proc_make(p, ref, len, &buf);

	if (rc)
		return rc;
	if (len)
		memcpy(buf.data, data, len);
	return swi_lc_seal(p->lc, &buf);
}

/* ---- running a task ---- */

enum { STEP_ARGS, STEP_THINK, STEP_CHILD, STEP_RESULTS, STEP_DONE };

static void report(struct sim_proc *p, int status, const char *text)
{
	struct sim_exec *e = &p->exec;
	uint8_t buf[2048];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	const uint32_t n = status ? 0 : e->spec.return_count;

	swi_wr_oid(&w, e->spec.task);
	swi_wr_u32(&w, e->attempt);
	swi_wr_u32(&w, (uint32_t)status);
	swi_wr_str(&w, text);
	swi_wr_u32(&w, n);
	for (uint32_t i = 0; i < n; i++)
		swi_wr_u64(&w, sim_result_len(e->digest, i));
	sim_proc_post(p, SWI_L_DONE, buf, w.len);
	exec_drop(p);
	begin_next(p);
}

/* In worlds of odd seeds tasks are short, but for a few: then the node sends them ahead. */
static uint64_t think_ns(const struct sim_proc *p)
{
	const uint64_t d = p->exec.digest;

	if (p->node->s->o.seed % 2 && d % 64)
		return 20 * NS_PER_US + d % (100 * NS_PER_US);
	return 50 * NS_PER_US + d % (60 * NS_PER_MS);
}

static int step_args(struct sim_proc *p)
{
	struct sim_exec *e = &p->exec;
	struct swi_spec_arg a;
	uint32_t pos = e->arg_pos;
	struct swarm_view v;
	int rc;

	if (!swi_spec_next_arg(&e->spec, &pos, &a)) {
		e->step = STEP_THINK;
		e->until_ns = sim_now(p->node->s) + think_ns(p);
		return 1;
	}
	if (a.is_ref) {
		rc = sim_proc_get(p, a.ref, &v);
		if (rc == -EAGAIN)
			return 0;
		if (rc) {
			report(p, rc == SWARM_EFULL ? SWARM_EFULL : SWARM_ETASK, "an argument could not be had");
			return 1;
		}
		e->digest = sim_mix(e->digest, sim_digest(v.data, v.len));
		swi_lc_release(p->lc, &v);
	} else {
		e->digest = sim_mix(e->digest, sim_digest(a.data, a.len));
	}
	e->arg_pos = pos;
	return 1;
}

static void say_blocked(struct sim_proc *p, bool on)
{
	const uint8_t b = on;

	sim_proc_post(p, SWI_L_BLOCKED, &b, 1);
}

static void spawn_child(struct sim_proc *p)
{
	struct sim_exec *e = &p->exec;
	const struct swarm_arg arg = SWARM_ARG_BYTES(&e->digest, sizeof(e->digest));
	struct swi_spec c;

	sim_child_spec(e->spec.task, swi_lc_node(p->lc), e->spec.module, &c);
	sim_proc_submit(p, &c, &arg);
	e->child = (struct swarm_ref){.id = swi_result_id(c.task, 0), .home = c.home};
	say_blocked(p, true);
	e->step = STEP_CHILD;
}

static int step_think(struct sim_proc *p)
{
	struct sim_exec *e = &p->exec;

	if (sim_now(p->node->s) < e->until_ns)
		return 0;
	if (!strcmp(e->spec.function, "fail")) {
		report(p, SWARM_ETASK, "it was made to fail");
		return 1;
	}
	if (p->node->s->o.faults && sim_rand(p->node->s) % 100 < 2) {
		p->killed = true; /* a bug in the function */
		return 1;
	}
	if (!strcmp(e->spec.function, "nest"))
		spawn_child(p);
	else
		e->step = STEP_RESULTS;
	return 1;
}

static int step_child(struct sim_proc *p)
{
	struct sim_exec *e = &p->exec;
	struct swarm_view v;
	const int rc = sim_proc_get(p, e->child, &v);

	if (rc == -EAGAIN)
		return 0;
	say_blocked(p, false);
	if (rc) {
		sim_trace(p->node->s, "n%u child failed: %s", p->node->index, swarm_errname(rc));
		report(p, rc == SWARM_EFULL ? SWARM_EFULL : SWARM_ETASK, "the child failed");
		return 1;
	}
	e->digest = sim_mix(e->digest, sim_digest(v.data, v.len));
	swi_lc_release(p->lc, &v);
	e->step = STEP_RESULTS;
	return 1;
}

/* As a seal at a time when nobody on this node waits for anything, or has subscribed: the node is not told. */
static int seal_quietly(struct sim_proc *p, struct swarm_buf *buf)
{
	struct swi_shm_head *h = p->node->shm;
	const uint32_t waiters = atomic_exchange(&h->waiters, 0);
	const uint32_t subscribers = atomic_exchange(&h->subscribers, 0);
	const int rc = swi_lc_seal(p->lc, buf);

	atomic_store(&h->waiters, waiters);
	atomic_store(&h->subscribers, subscribers);
	return rc;
}

static int step_results(struct sim_proc *p)
{
	struct sim_exec *e = &p->exec;
	const struct swarm_ref ref = {.id = swi_result_id(e->spec.task, e->result), .home = e->spec.home};
	const uint64_t len = sim_result_len(e->digest, e->result);
	struct swarm_buf buf;
	bool half;
	int rc;

	if (e->result == e->spec.return_count) {
		report(p, 0, "");
		return 1;
	}
	rc = sim_proc_make(p, ref, len, &buf);
	if (rc == -EAGAIN)
		return 0;
	/* Now and then there is room for this one and none for the next. */
	half = e->result + 1 < e->spec.return_count && sim_rand(p->node->s) % 100 < HALF_PERCENT;
	if (!rc) {
		sim_result_fill(e->digest, e->result, buf.data, len);
		rc = half ? seal_quietly(p, &buf) : swi_lc_seal(p->lc, &buf);
	}
	if ((rc && rc != -EEXIST) || half) {
		report(p, half || rc == SWARM_EFULL ? SWARM_EFULL : SWARM_ETASK, "no room for a result");
		return 1;
	}
	e->result++;
	return 1;
}

static int exec_step(struct sim_proc *p)
{
	switch (p->exec.step) {
	case STEP_ARGS:
		return step_args(p);
	case STEP_THINK:
		return step_think(p);
	case STEP_CHILD:
		return step_child(p);
	default:
		return step_results(p);
	}
}

int sim_proc_step(struct sim_proc *p)
{
	int n = 0;

	if (!p->cl) {
		if (sim_now(p->node->s) < p->born_ns || p->killed)
			return 0;
		attach(p);
		return 1;
	}
	n += swi_lc_pump(p->lc);
	if (p->kind == SIM_GUEST && !p->killed)
		return n + sim_guest_step(p);
	if (p->behind_count && sim_now(p->node->s) >= p->exec.begun_ns + PATIENCE_NS)
		n += give_back(p);
	for (int i = 0; i < 64 && p->exec.active && !p->killed && exec_step(p); i++)
		n++;
	return n;
}

uint64_t sim_proc_next_ns(const struct sim_proc *p)
{
	if (!p->cl)
		return p->born_ns;
	if (p->kind == SIM_GUEST)
		return sim_guest_next_ns(p);
	if (!p->exec.active)
		return UINT64_MAX;
	return swi_min_u64(p->exec.step == STEP_THINK ? p->exec.until_ns : UINT64_MAX,
			   p->behind_count ? p->exec.begun_ns + PATIENCE_NS : UINT64_MAX);
}
