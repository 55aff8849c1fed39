/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph.c - see graph.h. Calls from the directory's hooks only mark what is to be done (restart list);
 * watches are set and tasks are taken up from swi_graph_step(), when every record is in order.
 */
#include "sched/graph.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "sched/core.h"

/* next state + 1; 0 = no such edge */
#define EDGE(from, ev, to, why) [SWI_TASK_##from][SWI_TASK_EV_##ev] = SWI_TASK_##to + 1,
static const uint8_t task_next[SWI_TASK_STATE_COUNT][SWI_TASK_EV_COUNT] = {SWI_TASK_EDGES(EDGE)};
#undef EDGE

static const char *const state_name[SWI_TASK_STATE_COUNT] = {"NEW",    "WAITING", "READY",
							     "PLACED", "DONE",	  "FAILED"};

const char *swi_task_state_name(enum swi_task_state st)
{
	return st < SWI_TASK_STATE_COUNT ? state_name[st] : "?";
}

void swi_graph_init(struct swi_node *n)
{
	swi_list_init(&n->graph.restart);
}

static void deps_free(struct swi_node *n, struct swi_task *t)
{
	if (!t->deps)
		return;
	for (uint32_t i = 0; i < t->deps->count; i++)
		if (t->deps->dep[i].open)
			swi_watch_cancel(n->sn, &t->deps->dep[i].watch);
	free(t->deps);
	t->deps = NULL;
}

static bool any_gone(const struct swi_task *t)
{
	return t->gone || t->gone_more;
}

static void set_gone(struct swi_task *t, uint32_t i)
{
	if (i >= 64 && !t->gone_more)
		t->gone_more = calloc((t->returns + 63u) / 64u, sizeof(*t->gone_more));
	if (i < 64)
		t->gone |= 1ull << i;
	else if (t->gone_more) /* without memory for the mark it merely stays */
		t->gone_more[i / 64 - 1] |= 1ull << i % 64;
}

static bool finished(uint8_t state)
{
	return state == SWI_TASK_DONE || state == SWI_TASK_FAILED;
}

static void active_up(struct swi_node *n, struct swi_task *maker)
{
	(void)n;
	maker->active++;
}

static void active_down(struct swi_node *n, struct swi_task *maker)
{
	if (--maker->active)
		return;
	/* Results deleted meanwhile, or deleted before and made again for dependents. */
	for (uint32_t i = 0; any_gone(maker) && i < maker->returns; i++)
		if (swi_task_result_gone(maker, i))
			swi_delete(n->sn, (struct swarm_ref){swi_result_id(maker->id, i),
							     swi_task_spec(maker).home, 0});
}

/* The same for objects that no task makes: counted for as long as somebody needs them. */
static void put_needed(struct swi_node *n, struct swarm_ref ref, bool up)
{
	const struct swi_idslot *s = swi_idmap_get(&n->graph.puts, ref.id);
	const uint32_t now = (s ? s->aux : 0) + (up ? 1u : 0xffffffffu);
	const bool deleted = s && s->val;

	if (!s && !up)
		return; /* no memory when it began */
	if (now) {
		(void)swi_idmap_set(&n->graph.puts, ref.id, s ? s->val : NULL, now);
		return;
	}
	swi_idmap_del(&n->graph.puts, ref.id);
	if (deleted)
		swi_delete(n->sn, ref);
}

static void puts_needed(struct swi_node *n, struct swi_task *t, bool up)
{
	const struct swi_spec s = swi_task_spec(t);
	struct swi_spec_arg a;
	uint32_t pos = 0;

	while (s.ref_count && swi_spec_next_arg(&s, &pos, &a))
		if (a.is_ref && a.ref.home == swi_snode_number(n->sn) &&
		    (!up || !swi_graph_maker(n, a.ref.id, NULL)))
			put_needed(n, a.ref, up);
}

void swi_task_move(struct swi_node *n, struct swi_task *t, enum swi_task_ev ev)
{
	const uint8_t next = task_next[t->state][ev];
	const bool was_finished = finished(t->state) || t->state == SWI_TASK_NEW;

	SWI_BUG_ON(!next);
	n->graph.count[t->state]--;
	t->state = next - 1;
	n->graph.count[t->state]++;
	swi_list_del(&t->link);
	if (was_finished && !finished(t->state)) {
		swi_lineage_each_maker(n, t, active_up);
		puts_needed(n, t, true);
	}
	if (!was_finished && finished(t->state)) {
		swi_lineage_each_maker(n, t, active_down);
		puts_needed(n, t, false);
	}
}

struct swi_spec swi_task_spec(const struct swi_task *t)
{
	struct swi_spec s;

	SWI_BUG_ON(swi_spec_decode(t->spec, t->spec_len, &s)); /* it passed the gate before */
	return s;
}

struct swi_task *swi_graph_find(struct swi_node *n, struct swarm_oid task)
{
	const struct swi_idslot *s = swi_idmap_get(&n->graph.tasks, task);

	return s ? s->val : NULL;
}

struct swi_task *swi_graph_maker(struct swi_node *n, struct swarm_oid result, uint32_t *out_index)
{
	const struct swi_idslot *s = swi_idmap_get(&n->graph.results, result);

	if (s && out_index)
		*out_index = s->aux;
	return s ? s->val : NULL;
}

bool swi_task_result_gone(const struct swi_task *t, uint32_t i)
{
	if (i < 64)
		return t->gone >> i & 1;
	return t->gone_more && (t->gone_more[i / 64 - 1] >> i % 64 & 1);
}

uint64_t swi_graph_open(const struct swi_node *n)
{
	const uint64_t *c = n->graph.count;

	return c[SWI_TASK_WAITING] + c[SWI_TASK_READY] + c[SWI_TASK_PLACED];
}

/* ---- taking a task in ---- */

static void task_free(struct swi_node *n, struct swi_task *t)
{
	deps_free(n, t);
	swi_list_del(&t->link);
	free(t->gone_more);
	free(t->spec);
	free(t);
}

static void results_forget(struct swi_node *n, struct swi_task *t, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct swarm_oid id = swi_result_id(t->id, i);

		if (swi_graph_maker(n, id, NULL) == t)
			swi_idmap_del(&n->graph.results, id);
	}
	swi_idmap_del(&n->graph.tasks, t->id);
}

static struct swi_task *task_new(struct swi_node *n, const struct swi_spec *spec)
{
	struct swi_task *t = calloc(1, sizeof(*t));
	uint32_t i = 0;

	if (!t)
		return NULL;
	swi_list_init(&t->link);
	t->id = spec->task;
	t->returns = (uint16_t)spec->return_count;
	t->live = spec->return_count;
	t->spec_len = spec->bytes_len;
	t->spec = malloc(spec->bytes_len);
	if (!t->spec || swi_idmap_set(&n->graph.tasks, t->id, t, 0))
		goto error;
	memcpy(t->spec, spec->bytes, spec->bytes_len);
	for (; i < spec->return_count; i++)
		if (swi_idmap_set(&n->graph.results, swi_result_id(t->id, i), t, i))
			goto error;
	t->shape = swi_dispatch_shape(n, &spec->need);
	if (!t->shape)
		goto error;
	t->shape->tasks++;
	n->graph.count[SWI_TASK_NEW]++;
	return t;
error:
	results_forget(n, t, i);
	task_free(n, t);
	return NULL;
}

void swi_graph_drop(struct swi_node *n, struct swi_task *t)
{
	SWI_BUG_ON(!finished(t->state));
	results_forget(n, t, t->returns);
	n->graph.count[t->state]--;
	t->shape->tasks--;
	task_free(n, t);
}

static void expect_results(struct swi_node *n, struct swi_task *t)
{
	/* One that exists already (a twin of this task ran elsewhere) stays as it is. */
	for (uint32_t i = 0; i < t->returns; i++)
		swi_dir_expect(n->sn, swi_result_id(t->id, i));
}

/* A parent that was run again submits the same children: it wants their results once more. */
static void resubmitted(struct swi_node *n, struct swi_task *t)
{
	n->st.duplicates++;
	if (!any_gone(t))
		return;
	t->gone = 0;
	free(t->gone_more);
	t->gone_more = NULL;
	t->live = t->returns;
	if (t->state == SWI_TASK_DONE) {
		swi_lineage_reopened(n, t);
		swi_lineage_finished(n, t);
	}
}

int swi_graph_submit(struct swi_node *n, const void *bytes, uint32_t len)
{
	struct swi_spec spec;
	struct swi_task *t;

	if (swi_spec_decode(bytes, len, &spec) || spec.home != n->number)
		return -EBADMSG;
	n->st.submitted++;
	t = swi_graph_find(n, spec.task);
	if (t) {
		resubmitted(n, t);
		return 0;
	}
	t = task_new(n, &spec);
	if (!t)
		return -ENOMEM;
	swi_lineage_add(n, t);
	swi_task_move(n, t, SWI_TASK_EV_SUBMIT);
	expect_results(n, t);
	swi_list_push_back(&n->graph.restart, &t->link);
	return 0;
}

int swi_graph_adopt(struct swi_node *n, const struct swi_spec *spec, uint32_t attempt)
{
	struct swi_task *t;

	if (swi_graph_find(n, spec->task))
		return 0;
	t = task_new(n, spec);
	if (!t)
		return -ENOMEM;
	t->attempt = attempt;
	swi_lineage_add(n, t);
	swi_task_move(n, t, SWI_TASK_EV_ADOPT);
	swi_lineage_finished(n, t);
	return 0;
}

/* ---- arguments ---- */

static void ready(struct swi_node *n, struct swi_task *t)
{
	swi_task_move(n, t, SWI_TASK_EV_ARGS);
	t->since_ns = swi_node_now(n);
	swi_dispatch_ready(n, t);
}

/*
 * The user deleted an argument because the task had run; now it runs again for a result that was lost. The
 * argument is made once more: the next look at the arguments asks for it (swi_rebuild_need()).
 */
static bool deleted_for_rerun(struct swi_node *n, struct swi_task *t, struct swarm_ref ref)
{
	const struct swi_task *maker = swi_graph_maker(n, ref.id, NULL);

	return t->flags & SWI_TASK_F_RERUN && maker && maker->state != SWI_TASK_FAILED;
}

static void dep_cb(struct swi_watch *w, int status, const char *text, const struct swi_copies *copies)
{
	struct swi_dep *d = swi_container_of(w, struct swi_dep, watch);
	struct swi_task *t = d->task;
	struct swi_node *n = w->owner;
	char msg[512], id[33];

	d->open = false;
	t->deps->open--;
	if (status == SWARM_EDELETED && deleted_for_rerun(n, t, w->ref)) {
		deps_free(n, t);
		swi_list_push_back(&n->graph.restart, &t->link);
		return;
	}
	if (status < 0) {
		snprintf(msg, sizeof(msg), "argument %s failed: %s: %s", swi_oid_str(w->ref.id, id),
			 swarm_errname(status), text && text[0] ? text : swarm_strerror(status));
		swi_graph_fail(n, t, SWARM_EDEPENDENCY, msg);
		return;
	}
	d->copies = *copies;
	if (!t->deps->open)
		ready(n, t);
}

struct swi_task *swi_graph_waiter(struct swi_watch *w)
{
	return w->cb == dep_cb ? swi_container_of(w, struct swi_dep, watch)->task : NULL;
}

/* Exists already, as far as this node can tell without a message. */
static bool exists_here(struct swi_node *n, struct swi_task *t, struct swarm_ref ref)
{
	uint32_t index = 0;
	struct swi_task *maker = swi_graph_maker(n, ref.id, &index);
	const enum swi_dir_state st = swi_dir_get(n->sn, ref.id, NULL);

	if (st == SWI_DIR_AVAILABLE)
		return true;
	/* Failed for good only when its maker is; a deleted result also counts as failed there. */
	if (maker)
		swi_rebuild_need(n, t, maker, index);
	return false;
}

static bool listed(const struct swi_deps *d, struct swarm_oid id)
{
	/* A second watch on the same object is only waste: many arguments are not searched. */
	for (uint32_t i = 0; i < d->count && i < 64; i++)
		if (swarm_oid_equal(d->dep[i].watch.ref.id, id))
			return true;
	return false;
}

static struct swi_deps *deps_new(struct swi_node *n, struct swi_task *t, const struct swi_spec *s)
{
	struct swi_deps *d = NULL;
	struct swi_spec_arg a;
	uint32_t pos = 0;

	while (swi_spec_next_arg(s, &pos, &a)) {
		if (!a.is_ref || exists_here(n, t, a.ref))
			continue;
		if (!d)
			d = calloc(1, sizeof(*d) + s->ref_count * sizeof(d->dep[0]));
		SWI_BUG_ON(!d);
		if (listed(d, a.ref.id))
			continue;
		d->dep[d->count].task = t;
		d->dep[d->count++].watch = (struct swi_watch){
		    .ref = a.ref, .deadline_ns = UINT64_MAX, .cb = dep_cb, .owner = n};
	}
	return d;
}

/* WAITING: look at the arguments; what is not there is watched. */
static void take_up(struct swi_node *n, struct swi_task *t)
{
	const struct swi_spec s = swi_task_spec(t);

	deps_free(n, t);
	if (s.ref_count)
		t->deps = deps_new(n, t, &s);
	if (!t->deps) {
		ready(n, t);
		return;
	}
	t->deps->open = t->deps->count;
	for (uint32_t i = 0; i < t->deps->count; i++) {
		t->deps->dep[i].open = true;
		swi_watch(n->sn, &t->deps->dep[i].watch);
	}
}

static bool copies_of(struct swi_node *n, struct swi_task *t, struct swarm_ref ref,
		      struct swi_copies *out)
{
	if (swi_dir_get(n->sn, ref.id, out) == SWI_DIR_AVAILABLE)
		return true;
	for (uint32_t i = 0; t->deps && i < t->deps->count; i++)
		if (swarm_oid_equal(t->deps->dep[i].watch.ref.id, ref.id)) {
			*out = t->deps->dep[i].copies;
			return true;
		}
	return false;
}

uint32_t swi_graph_args(struct swi_node *n, struct swi_task *t, struct swi_place_arg *out, uint32_t max)
{
	const struct swi_spec s = swi_task_spec(t);
	struct swi_spec_arg a;
	uint32_t pos = 0, count = 0;

	while (s.ref_count && count < max && swi_spec_next_arg(&s, &pos, &a)) {
		struct swi_copies c;

		if (!a.is_ref || !copies_of(n, t, a.ref, &c))
			continue;
		out[count] = (struct swi_place_arg){.len = c.len, .copy_count = c.count};
		for (uint32_t i = 0; i < c.count && i < SWI_ARRAY_LEN(out->copy_node); i++) {
			out[count].copy_node[i] = c.node[i];
			out[count].spilled_mask |= (uint32_t)c.spilled[i] << i;
		}
		count++;
	}
	return count;
}

/* ---- the end of a run ---- */

void swi_graph_fail(struct swi_node *n, struct swi_task *t, int code, const char *text)
{
	const bool rerun = t->flags & SWI_TASK_F_RERUN;
	char tid[33];

	if (t->state == SWI_TASK_READY)
		swi_dispatch_unready(n, t);
	if (t->state == SWI_TASK_PLACED)
		swi_dispatch_unplaced(n, t);
	deps_free(n, t);
	swi_task_move(n, t, SWI_TASK_EV_FAIL);
	n->st.failed++;
	swi_info(n->log, "task %s failed: %s: %s", swi_oid_str(t->id, tid), swarm_errname(code), text);
	if (rerun && code != SWARM_ECANCELED)
		swi_warn(n->log, "a lost object cannot be made again: %s", text);
	for (uint32_t i = 0; i < t->returns; i++) {
		const struct swarm_oid id = swi_result_id(t->id, i);

		if (swi_dir_get(n->sn, id, NULL) != SWI_DIR_AVAILABLE)
			swi_dir_fail(n->sn, id, code, text);
	}
	swi_rebuild_finished(n, t, false);
	swi_lineage_finished(n, t);
}

static void done(struct swi_node *n, struct swi_task *t, const uint64_t *lens, uint32_t count)
{
	const struct swi_spec s = swi_task_spec(t);
	const uint32_t lens_now = (uint32_t)XXH3_64bits(lens, count * sizeof(*lens));
	const uint32_t node = t->node;

	if (t->flags & SWI_TASK_F_TALLIED && t->lens != lens_now) {
		char id[33];

		n->rebuild.nondeterministic++;
		swi_warn(n->log, "task %s (%s): a second run gave results of other lengths",
			 swi_oid_str(t->id, id), s.function);
		swi_event(n, "nondeterministic",
			  json_pack("{s:s,s:s}", "task", swi_oid_str(t->id, id), "function", s.function));
	}
	t->lens = lens_now;
	t->flags |= SWI_TASK_F_TALLIED;
	swi_dispatch_unplaced(n, t);
	swi_task_move(n, t, SWI_TASK_EV_DONE);
	n->st.done++;
	for (uint32_t i = 0; i < t->returns; i++) {
		const struct swarm_oid id = swi_result_id(t->id, i);

		swi_dir_add_copy(n->sn, id, node, lens[i], true);
		/* Deleted before it was made, and nobody needs it for something lost: it goes at once. */
		if (swi_task_result_gone(t, i) && !t->active)
			swi_delete(n->sn, (struct swarm_ref){id, s.home, 0});
	}
	swi_rebuild_finished(n, t, true);
	t->flags &= (uint8_t) ~(SWI_TASK_F_RERUN | SWI_TASK_F_RECALLED);
	swi_lineage_finished(n, t);
}

static bool try_again(const struct swi_task *t, const struct swi_spec *s, int status)
{
	if (t->flags & SWI_TASK_F_CANCELED || t->crashes >= s->retries)
		return false;
	return status == SWARM_ECRASH || status == SWARM_ETASKTIME ||
	       (status == SWARM_ETASK && s->flags & SWARM_TASK_RETRY_ERRORS);
}

/* It never ran, or not for a reason of its own: does not count, but is bounded. */
static bool not_its_fault(struct swi_task *t, int status)
{
	if (t->flags & SWI_TASK_F_CANCELED)
		return false;
	if (status == SWARM_ECANCELED)
		return t->flags & SWI_TASK_F_RECALLED;
	if (status == SWARM_EDRAINING || status == SWARM_EHOMELOST)
		return true;
	return (status == SWARM_EFULL || status == SWARM_EPEERLOST || status == SWARM_ENODELOST ||
		status == SWARM_ENOROOM ||
		/* An argument was lost or deleted on its way: whether it failed for good is asked here once more. */
		status == SWARM_EDEPENDENCY) &&
	       t->rebuilds++ < SWI_REBUILDS_MAX;
}

void swi_graph_ended(struct swi_node *n, struct swi_task *t, int status, const char *text,
		     const uint64_t *lens, uint32_t lens_count)
{
	const struct swi_spec s = swi_task_spec(t);
	char msg[640];

	if (!status && lens_count == t->returns) {
		done(n, t, lens, lens_count);
		return;
	}
	if (!status) {
		status = SWARM_EPROTO;
		text = "the worker named another number of results";
	}
	if (not_its_fault(t, status)) {
		n->st.replaced++;
		swi_graph_again(n, t);
		return;
	}
	if (try_again(t, &s, status)) {
		t->crashes++;
		n->st.retried++;
		swi_event(n, "retry", json_pack("{s:s,s:i,s:s?}", "function", s.function, "attempt",
						(int)t->crashes, "why", text));
		swi_graph_again(n, t);
		return;
	}
	snprintf(msg, sizeof(msg), "%s (%s on node %u, run %u)", text && text[0] ? text : swarm_strerror(status),
		 s.function, t->node, t->attempt + 1);
	swi_graph_fail(n, t, status, msg);
}

void swi_graph_again(struct swi_node *n, struct swi_task *t)
{
	swi_dispatch_unplaced(n, t);
	t->attempt++;
	t->flags &= (uint8_t)~SWI_TASK_F_RECALLED;
	swi_task_move(n, t, SWI_TASK_EV_AGAIN);
	if (t->flags & SWI_TASK_F_CANCELED)
		swi_graph_fail(n, t, SWARM_ECANCELED, "cancelled");
	else
		swi_list_push_back(&n->graph.restart, &t->link);
}

void swi_graph_rerun(struct swi_node *n, struct swi_task *t)
{
	swi_lineage_reopened(n, t);
	swi_task_move(n, t, SWI_TASK_EV_RERUN);
	t->attempt++;
	t->rebuilds++;
	t->flags = (uint8_t)((t->flags & ~SWI_TASK_F_CANCELED) | SWI_TASK_F_RERUN);
	swi_list_push_back(&n->graph.restart, &t->link);
}

/* ---- from above ---- */

void swi_graph_cancel(struct swi_node *n, struct swarm_oid result, bool force)
{
	struct swi_task *t = swi_graph_maker(n, result, NULL);

	if (!t || finished(t->state))
		return;
	t->flags |= SWI_TASK_F_CANCELED;
	if (t->state == SWI_TASK_PLACED) {
		if (force)
			t->flags |= SWI_TASK_F_FORCE;
		swi_dispatch_cancel(n, t, force);
		return;
	}
	swi_graph_fail(n, t, SWARM_ECANCELED, "cancelled before it began");
}

bool swi_graph_delete(struct swi_node *n, struct swarm_oid id)
{
	uint32_t index = 0;
	struct swi_task *t = swi_graph_maker(n, id, &index);
	const struct swi_idslot *put = t ? NULL : swi_idmap_get(&n->graph.puts, id);
	bool kept;

	if (put)
		(void)swi_idmap_set(&n->graph.puts, id, n, put->aux);
	if (!t)
		return put != NULL;
	kept = t->active > 0;
	if (!swi_task_result_gone(t, index)) {
		set_gone(t, index);
		t->live--;
		swi_lineage_unref(n, t);
	}
	return kept;
}

int swi_graph_step(struct swi_node *n)
{
	struct swi_list now;
	int handled = 0;

	if (swi_list_empty(&n->graph.restart))
		return 0;
	swi_list_init(&now);
	swi_list_splice(&now, &n->graph.restart);
	while (!swi_list_empty(&now)) {
		struct swi_task *t = swi_list_first(&now, struct swi_task, link);

		swi_list_del(&t->link);
		take_up(n, t);
		handled++;
	}
	return handled;
}

void swi_graph_fini(struct swi_node *n)
{
	struct swi_graph *g = &n->graph;

	for (uint64_t i = 0; i < g->tasks.cap; i++)
		if (!swi_oid_is_zero(g->tasks.slot[i].id))
			task_free(n, g->tasks.slot[i].val);
	swi_idmap_fini(&g->tasks);
	swi_idmap_fini(&g->results);
	swi_idmap_fini(&g->puts);
}
