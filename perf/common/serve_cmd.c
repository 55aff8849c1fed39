/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve_cmd.c - what the server of serve.h does for each request. Numbers come from the client: each is checked.
 * The raw baseline runs on a thread of its own, all else on the caller's.
 */
#include <pthread.h>

#include <swarm/version.h>

#include "perf/common/data.h"
#include "perf/common/raw.h"
#include "perf/common/serve.h"
#include "perf/common/tool.h"
#include "perf/common/traffic.h"
#include "store/shm.h"

#define COUNT_MAX   (1u << 26)
#define RAW_MAX	    GIB(1)
#define GET_NS	    (30 * NS_PER_S)

struct numbers {
	uint64_t set, count, size, home, threads;
	bool check, events, both;
};

static json_t *refuse(const char *text)
{
	return json_pack("{s:s}", "error", text);
}

static uint64_t number(const json_t *request, const char *key)
{
	const json_int_t v = json_integer_value(json_object_get(request, key));

	return v < 0 ? 0 : (uint64_t)v;
}

static struct numbers numbers_of(const json_t *request)
{
	return (struct numbers){
		.set = number(request, "set"),
		.count = number(request, "count"),
		.size = number(request, "size"),
		.home = number(request, "home"),
		.threads = swi_max_u64(number(request, "threads"), 1),
		.check = json_is_true(json_object_get(request, "check")),
		.events = json_is_true(json_object_get(request, "events")),
		.both = json_is_true(json_object_get(request, "both")),
	};
}

static const char *wrong(const struct perf_server *s, const struct numbers *n)
{
	if (n->set < PERF_SET_FIRST || !n->count || n->count > COUNT_MAX || n->size > s->arena ||
	    n->home > UINT32_MAX || n->threads > PERF_THREADS_MAX)
		return "a number is out of range";
	return NULL;
}

/* ---- make, drop ---- */

static int make_one(struct swarm_store *st, struct swarm_ref ref, uint64_t size)
{
	struct swarm_buf b;
	const int rc = swarm_store_create(st, ref, size, 10 * NS_PER_S, &b);

	if (rc)
		return rc;
	perf_fill(b.data, size, ref);
	return swarm_store_seal(st, &b);
}

static json_t *do_make(struct perf_server *s, const json_t *request)
{
	const struct numbers n = numbers_of(request);
	const char *why = wrong(s, &n);
	int rc = 0;

	if (!why && n.count > s->arena / swi_extent_bytes(n.size))
		why = "the objects are more than the arena of the server: give it --arena";
	if (why)
		return refuse(why);
	for (uint64_t i = 0; i < n.count && !rc; i++)
		rc = make_one(s->st, perf_ref(n.set, i, PERF_SERVER_NODE), n.size);
	return rc ? refuse(swarm_strerror(rc)) : json_object();
}

static json_t *do_drop(struct perf_server *s, const json_t *request)
{
	const struct numbers n = numbers_of(request);
	const char *why = wrong(s, &n);

	if (why)
		return refuse(why);
	for (uint64_t i = 0; i < n.count; i++)
		(void)swarm_store_delete(s->st, perf_ref(n.set, i, PERF_SERVER_NODE));
	return json_object();
}

/* ---- getting what the client has, and answering it ---- */

struct pull {
	struct perf_server *s;
	struct numbers n;
	uint8_t *data; /* of what we make */
};

/* With "both" as many threads more make the objects of the next set. */
static void pull_some(struct perf_worker *w)
{
	const struct pull *p = w->load->ctx;
	const struct numbers *n = &p->n;

	if (w->index < n->threads) {
		const struct perf_pull pull = {.st = p->s->st, .set = n->set, .count = n->count, .size = n->size,
					       .home = (uint32_t)n->home, .at = w->index, .step = n->threads,
					       .check = n->check, .events = n->events};

		perf_pull(w, &pull);
		return;
	}
	const struct perf_make make = {.st = p->s->st, .set = n->set + 1, .count = n->count, .size = n->size,
				       .home = PERF_SERVER_NODE, .at = w->index - n->threads, .step = n->threads,
				       .outs = 1, .data = p->data, .check = n->check};

	perf_make_some(w, &make);
}

/* Each object of a thread is answered by one of ours, as soon as it is here. */
static void pong_some(struct perf_worker *w)
{
	const struct pull *p = w->load->ctx;
	const uint64_t set = p->n.set + 2 * w->index;
	struct perf_getter g;

	w->error = perf_getter_init(&g, p->s->st, p->n.events);
	for (uint64_t i = 0; i < w->iters && !w->error; i++) {
		struct swarm_view v;

		w->error = perf_getter_get(&g, perf_ref(set, i, (uint32_t)p->n.home), GET_NS, &v);
		if (w->error)
			break;
		w->error = swarm_store_put(p->s->st, perf_ref(set + 1, i, PERF_SERVER_NODE), v.data, v.len, GET_NS);
		swarm_view_release(p->s->st, &v);
		if (i >= 64) /* long seen by the client */
			(void)swarm_store_delete(p->s->st, perf_ref(set + 1, i - 64, PERF_SERVER_NODE));
	}
	perf_getter_fini(&g);
}

static json_t *do_threads(struct perf_server *s, const json_t *request, void (*fn)(struct perf_worker *w))
{
	struct pull p = {.s = s, .n = numbers_of(request)};
	struct perf_load l = {.o = s->o, .iters = p.n.count, .number = true, .ctx = &p, .fn = fn};
	const char *why = wrong(s, &p.n);
	struct perf_hist *h;

	if (why)
		return refuse(why);
	h = calloc(1, sizeof(*h));
	p.data = calloc(1, p.n.size + 1);
	SWI_BUG_ON(!h || !p.data);
	l.threads = (uint32_t)p.n.threads * (p.n.both ? 2 : 1);
	(void)perf_load_part(&l, h, NULL);
	free(h);
	free(p.data);
	if (l.error)
		return refuse(swarm_strerror(l.error));
	return json_pack("{s:I, s:I, s:I}", "ns", (json_int_t)l.ns, "ops", (json_int_t)l.ops, "bytes",
			 (json_int_t)l.bytes);
}

/* ---- the baselines' other end ---- */

struct raw_thread {
	const struct perf_server *s;
	uint64_t len;
	char host[64], address[128];
	bool answered;
	pthread_mutex_t lock;
	pthread_cond_t cond;
};

static void raw_ready(void *ctx, const char *address)
{
	struct raw_thread *t = ctx;

	pthread_mutex_lock(&t->lock);
	snprintf(t->address, sizeof(t->address), "%s", address ? address : "");
	t->answered = true;
	pthread_cond_signal(&t->cond);
	pthread_mutex_unlock(&t->lock);
}

/* Frees what the starter left to it: the last look at @t is that of raw_ready() or ours. */
static void *raw_thread(void *arg)
{
	struct raw_thread *t = arg;

	(void)perf_raw_serve(t->s->o, t->host, t->s->key, t->len, raw_ready, t);
	pthread_mutex_lock(&t->lock); /* the starter has read the address */
	pthread_mutex_unlock(&t->lock);
	free(t);
	return NULL;
}

static json_t *do_raw(struct perf_server *s, const json_t *request)
{
	const uint64_t len = number(request, "size");
	struct raw_thread *t = calloc(1, sizeof(*t));
	const char *at = swarm_store_address(s->st), *colon = strrchr(at, ':');
	pthread_t thread;
	json_t *answer;

	SWI_BUG_ON(!t);
	if (!len || len > RAW_MAX || !colon) {
		free(t);
		return refuse("a number is out of range");
	}
	t->s = s;
	t->len = len;
	snprintf(t->host, sizeof(t->host), "%.*s", (int)(colon - at), at);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->cond, NULL);
	pthread_mutex_lock(&t->lock);
	if (pthread_create(&thread, NULL, raw_thread, t)) {
		free(t);
		return refuse("no thread can be had");
	}
	pthread_detach(thread);
	while (!t->answered)
		pthread_cond_wait(&t->cond, &t->lock);
	answer = t->address[0] ? json_pack("{s:s}", "address", t->address)
			       : refuse("the raw transport cannot be opened");
	pthread_mutex_unlock(&t->lock);
	return answer;
}

static json_t *do_status(struct perf_server *s)
{
	char *text;
	json_t *doc;

	if (swarm_store_status(s->st, &text))
		return refuse("no status can be had");
	doc = json_loads(text, 0, NULL);
	free(text);
	return doc ? doc : refuse("the status cannot be read");
}

/* What carries the bytes between us and node @node: on one host this is not what the nodes listen on. */
static const char *carrier(const json_t *status, uint64_t node)
{
	const json_t *peer;
	size_t i;

	json_array_foreach (json_object_get(status, "peers"), i, peer)
		if (number(peer, "node") == node)
			return json_string_value(json_object_get(peer, "transport"));
	return NULL;
}

static json_t *do_hello(struct perf_server *s, const json_t *request)
{
	json_t *status = do_status(s), *t = json_object_get(status, "transport"), *answer;
	const char *backend = json_string_value(json_object_get(t, "backend"));
	const char *device = json_string_value(json_object_get(t, "device"));
	const char *by = carrier(status, number(request, "node"));
	const char *version = json_string_value(json_object_get(request, "version"));
	char both[256];

	if (!version || strcmp(version, swarm_version())) {
		snprintf(both, sizeof(both), "this is version %s, the client is %.32s: both ends have to be of one version",
			 swarm_version(), version ? version : "older");
		json_decref(status);
		return refuse(both);
	}
	if (by && backend && strcmp(by, backend))
		snprintf(both, sizeof(both), "%s", by);
	else
		snprintf(both, sizeof(both), "%s (%s)", backend ? backend : "?", device ? device : "?");
	answer = json_pack("{s:I, s:s}", "arena_bytes", (json_int_t)s->arena, "backend", both);
	json_decref(status);
	return answer;
}

json_t *perf_serve_one(struct perf_server *s, const json_t *request)
{
	const char *cmd = json_string_value(json_object_get(request, "cmd"));

	if (!cmd)
		return refuse("a request without a command");
	if (!strcmp(cmd, "hello"))
		return do_hello(s, request);
	if (!strcmp(cmd, "make"))
		return do_make(s, request);
	if (!strcmp(cmd, "drop"))
		return do_drop(s, request);
	if (!strcmp(cmd, "pull"))
		return do_threads(s, request, pull_some);
	if (!strcmp(cmd, "pong"))
		return do_threads(s, request, pong_some);
	if (!strcmp(cmd, "raw"))
		return do_raw(s, request);
	if (!strcmp(cmd, "tool"))
		return perf_tool_serve(request);
	if (!strcmp(cmd, "status"))
		return do_status(s);
	if (strcmp(cmd, "end"))
		return refuse("an unknown command: are both ends of the same version?");
	s->over = true;
	return json_object();
}
