/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c - a random graph of tasks, its driver, and the model: what every result must be (sim.h).
 *
 * The driver puts inputs, submits, gets results in several rounds while nodes die (some only in the last,
 * so that what is lost meanwhile is rebuilt), compares each byte, and deletes everything.
 */
#include "tests/sim/sim.h"

#define INPUT_FROM(i) (UINT32_MAX - (i))
#define ROUNDS	      3u
#define WHOLE_NS      (100 * NS_PER_MS)
#define SETTLE_NS     (3 * NS_PER_S)

enum { PHASE_MODULE, PHASE_INPUTS, PHASE_SUBMIT, PHASE_GET, PHASE_GUESTS, PHASE_DELETE, PHASE_SETTLE, PHASE_DELETE_OBJS, PHASE_DONE };

static uint64_t input_digest(const struct sim_load *l, uint32_t i)
{
	return sim_result_digest(l->input_salt[i], 0);
}

static bool pick_arg(struct sim *s, struct sim_task *t, uint32_t index)
{
	struct sim_load *l = &s->load;
	const uint32_t from = (uint32_t)(sim_rand(s) % (index + SIM_INPUTS));
	const uint32_t a = t->args;

	if (from >= index) {
		t->arg_from[a] = INPUT_FROM(from - index);
		t->arg[a] = l->input[from - index];
		return true;
	}
	/* An error is an error for all who depend on it: few graphs would be left without. */
	if (l->task[from].fails && sim_rand(s) % 8)
		return false;
	t->arg_from[a] = from;
	t->arg_ret[a] = (uint32_t)(sim_rand(s) % l->task[from].spec.return_count);
	t->arg[a] = (struct swarm_ref){swi_result_id(l->task[from].spec.task, t->arg_ret[a]), 1, 0};
	return true;
}

static void model(struct sim *s, struct sim_task *t)
{
	struct sim_load *l = &s->load;

	t->digest = sim_mix(0, sim_digest(&t->salt, sizeof(t->salt)));
	for (uint32_t a = 0; a < t->args; a++) {
		const uint32_t from = t->arg_from[a];
		uint64_t d;

		if (from > SIM_TASKS_MAX) {
			d = input_digest(l, UINT32_MAX - from);
		} else {
			d = sim_result_digest(l->task[from].digest, t->arg_ret[a]);
			t->fails |= l->task[from].fails;
		}
		t->digest = sim_mix(t->digest, d);
	}
	if (!strcmp(t->spec.function, "nest")) {
		const uint64_t child = sim_mix(0, sim_digest(&t->digest, sizeof(t->digest)));

		t->digest = sim_mix(t->digest, sim_result_digest(child, 0));
	}
	t->fails |= !strcmp(t->spec.function, "fail");
}

static void make_task(struct sim *s, uint32_t index)
{
	struct sim_load *l = &s->load;
	struct sim_task *t = &l->task[index];
	/* What has arguments is not made again: some more have none, where that is to be seen. */
	const uint32_t want = (uint32_t)(sim_rand(s) % 4) * !(s->o.remake && index % 2);
	const uint64_t kind = sim_rand(s) % 100;

	t->spec = (struct swi_spec){.task = swi_task_id(l->driver, index), .parent = l->driver, .home = 1,
				    .retries = 1000, .module = l->module,
				    .return_count = 1 + (uint32_t)(sim_rand(s) % 3),
				    .need = {.cpu = SWARM_RESOURCE_UNIT * (1 + sim_rand(s) % 2)}};
	snprintf(t->spec.function, sizeof(t->spec.function), "%s",
		 kind < 3 ? "fail" : kind < 15 ? "nest" : "work");
	t->salt = sim_rand(s);
	for (uint32_t k = 0; k < want; k++)
		t->args += pick_arg(s, t, index);
	t->spec.arg_count = t->args + 1;
	model(s, t);
}

void sim_load_make(struct sim *s)
{
	struct sim_load *l = &s->load;

	l->driver = (struct swarm_oid){{sim_rand(s), 1}};
	l->module = (struct swarm_ref){.id = {{0x6d6f64, 1}}};
	for (uint32_t i = 0; i < SIM_INPUTS; i++) {
		l->input_salt[i] = sim_rand(s);
		l->input[i] = (struct swarm_ref){swi_task_id(l->driver, 1000 + i), 1, 0};
	}
	l->tasks = 24 + (uint32_t)(sim_rand(s) % (SIM_TASKS_MAX - 24));
	for (uint32_t i = 0; i < l->tasks; i++)
		make_task(s, i);
}

static void next_phase(struct sim *s)
{
	s->load.phase++;
	s->load.pos = 0;
	sim_trace(s, "driver: phase %u", s->load.phase);
}

static int put_inputs(struct sim *s)
{
	struct sim_load *l = &s->load;
	const uint64_t salt = l->input_salt[l->pos], len = sim_result_len(salt, 0);
	uint8_t *p = malloc(len + 1);
	int rc;

	SWI_BUG_ON(!p);
	sim_result_fill(salt, 0, p, len);
	rc = sim_proc_put(s->driver, l->input[l->pos], p, len);
	free(p);
	if (rc == -EAGAIN)
		return 0;
	if (rc)
		sim_fail(s, "an input could not be put: %s", swarm_errname(rc));
	if (++l->pos == SIM_INPUTS)
		next_phase(s);
	return 1;
}

static int submit(struct sim *s)
{
	struct sim_load *l = &s->load;
	struct sim_task *t = &l->task[l->pos];
	struct swarm_arg args[5] = {SWARM_ARG_BYTES(&t->salt, sizeof(t->salt))};

	for (uint32_t a = 0; a < t->args; a++)
		args[a + 1] = SWARM_ARG_REF(t->arg[a]);
	sim_proc_submit(s->driver, &t->spec, args);
	if (sim_rand(s) % 4 == 0)
		l->wait_ns = sim_now(s) + sim_rand(s) % (20 * NS_PER_MS);
	if (++l->pos == l->tasks)
		next_phase(s);
	return 1;
}

static void check(struct sim *s, const struct sim_task *t, uint32_t i, int rc, struct swarm_view *v)
{
	const uint64_t len = sim_result_len(t->digest, i);
	uint8_t *want;

	s->load.checked++;
	if (t->fails) {
		if (rc != SWARM_ETASK && rc != SWARM_EDEPENDENCY)
			sim_fail(s, "a result that must fail gives %s", swarm_errname(rc));
		if (!rc)
			swi_lc_release(s->driver->lc, v);
		return;
	}
	if (rc) {
		sim_fail(s, "result %u of %s (%016llx) cannot be had: %s", i, t->spec.function,
			 (unsigned long long)t->spec.task.w[0], swarm_errname(rc));
		return;
	}
	want = malloc(len + 1);
	SWI_BUG_ON(!want);
	sim_result_fill(t->digest, i, want, len);
	if (v->len != len || memcmp(v->data, want, len) != 0)
		sim_fail(s, "result %u of %s (%016llx) has the wrong bytes", i, t->spec.function,
			 (unsigned long long)t->spec.task.w[0]);
	free(want);
	swi_lc_release(s->driver->lc, v);
}

/* Round 0 and 1 look at a part; the last at everything. */
static int get(struct sim *s)
{
	struct sim_load *l = &s->load;
	const uint32_t ti = l->pos / 3, i = l->pos % 3;
	const struct sim_task *t = &l->task[ti];
	const struct swarm_ref ref = {swi_result_id(t->spec.task, i), 1, 0};
	struct swarm_view v = {0};
	int rc;

	if (ti == l->tasks) {
		l->pos = 0;
		l->wait_ns = sim_now(s) + sim_rand(s) % (400 * NS_PER_MS);
		if (++l->round == ROUNDS)
			next_phase(s);
		return 1;
	}
	if (i < t->spec.return_count &&
	    (s->driver->fetch.asked || l->round == ROUNDS - 1 || sim_mix(l->pos, l->round) % 3 == 0)) {
		rc = sim_proc_get(s->driver, ref, &v);
		if (rc == -EAGAIN)
			return 0;
		check(s, t, i, rc, &v);
	}
	l->pos++;
	return 1;
}

/* The guests have their time, too; then they let go of everything. */
static int end_guests(struct sim *s)
{
	if (!s->o.remake && s->guest_ops < SIM_GUEST_OPS)
		return 0;
	s->guests_stop = true;
	for (uint32_t i = 0; i < SIM_NODES; i++)
		for (uint32_t k = 0; k < s->node[i].procs; k++)
			if (s->node[i].proc[k]->kind == SIM_GUEST && !sim_guest_idle(s->node[i].proc[k]))
				return 0;
	next_phase(s);
	return 1;
}

static void delete_ref(struct sim *s, struct swarm_ref ref)
{
	uint8_t buf[32];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_ref(&w, ref);
	sim_proc_post(s->driver, SWI_L_DELETE, buf, w.len);
}

static int delete_all(struct sim *s)
{
	struct sim_load *l = &s->load;

	if (l->pos < l->tasks) {
		const struct sim_task *t = &l->task[l->pos];

		for (uint32_t i = 0; i < t->spec.return_count; i++)
			delete_ref(s, (struct swarm_ref){swi_result_id(t->spec.task, i), 1, 0});
	} else if (l->pos < l->tasks + SIM_INPUTS) {
		delete_ref(s, l->input[l->pos - l->tasks]);
	} else {
		next_phase(s);
	}
	l->pos++;
	return 1;
}

/*
 * A delete of an object whose home dies in the same moment is lost with it (store.h says that it is asynchronous). So what
 * the guests made is deleted when the members have been the same for a while.
 */
static int settle(struct sim *s)
{
	struct sim_load *l = &s->load;

	s->faults_stop = true;
	if (!sim_world_whole(s)) {
		l->wait_ns = sim_now(s) + WHOLE_NS;
		l->whole = false;
		return 0;
	}
	if (!l->whole) {
		l->whole = true;
		l->wait_ns = sim_now(s) + SETTLE_NS;
		return 0;
	}
	next_phase(s);
	return 1;
}

static int delete_objs(struct sim *s)
{
	struct swarm_ref ref;

	if (sim_obj_next_left(s, &s->load.obj_pos, &ref)) {
		delete_ref(s, ref);
		return 1;
	}
	next_phase(s);
	s->load.done = true;
	return 1;
}

int sim_load_step(struct sim *s)
{
	struct sim_load *l = &s->load;
	static const char module[] = "the module";
	int rc;

	if (!s->driver->cl || sim_now(s) < l->wait_ns)
		return 0;
	switch (l->phase) {
	case PHASE_MODULE:
		rc = sim_proc_put(s->driver, l->module, module, sizeof(module));
		if (rc != -EAGAIN)
			next_phase(s);
		return rc != -EAGAIN;
	case PHASE_INPUTS:
		return put_inputs(s);
	case PHASE_SUBMIT:
		return submit(s);
	case PHASE_GET:
		return get(s);
	case PHASE_GUESTS:
		return end_guests(s);
	case PHASE_DELETE:
		return delete_all(s);
	case PHASE_SETTLE:
		return settle(s);
	case PHASE_DELETE_OBJS:
		return delete_objs(s);
	default:
		return 0;
	}
}

uint64_t sim_load_next_ns(const struct sim *s)
{
	return s->load.wait_ns > sim_now(s) ? s->load.wait_ns : UINT64_MAX;
}
