/* SPDX-License-Identifier: Apache-2.0 */
/* serve.c - see serve.h: the loop of the server, and asking it. One thread each. */
#include <sys/stat.h>
#include <unistd.h>

#include "perf/common/data.h"
#include "perf/common/load.h"
#include "perf/common/serve.h"
#include "store/host.h"

#define LOOK_NS	 (NS_PER_S / 4) /* between two looks at whether the client is still there */
#define LOST_NS	 (4 * NS_PER_S) /* without a peer: the client is gone */
#define ANSWER_NS (600 * NS_PER_S)
#define TEXT_MAX (1u << 20)

void perf_key_path(const struct perf_opts *o, char *buf, size_t len)
{
	char dir[PERF_PATH_MAX];

	if (o->key_file)
		snprintf(buf, len, "%s", o->key_file);
	else if (swi_default_dir(dir, sizeof(dir)) ||
		 (size_t)snprintf(buf, len, "%s/cluster.key", dir) >= len)
		perf_die(o, "the run directory has a long name: give --key-file");
}

/* ---- objects that hold JSON ---- */

static void put_json(const struct perf_opts *o, struct swarm_store *st, struct swarm_ref ref, json_t *doc)
{
	char *text = json_dumps(doc, JSON_COMPACT);

	SWI_BUG_ON(!text);
	perf_must(o, swarm_store_put(st, ref, text, strlen(text), 10 * NS_PER_S), "put of a request");
	free(text);
	json_decref(doc);
}

static int get_json(struct swarm_store *st, struct swarm_ref ref, uint64_t timeout_ns, json_t **out)
{
	struct swarm_view v;
	const int rc = swarm_store_get(st, ref, timeout_ns, &v);

	if (rc)
		return rc;
	*out = v.len <= TEXT_MAX ? json_loadb(v.data, v.len, 0, NULL) : NULL;
	swarm_view_release(st, &v);
	return *out ? 0 : -EPROTO;
}

/* ---- the client's side ---- */

void perf_ask_begin(struct perf_rig *rig, json_t *request)
{
	put_json(rig->o, rig->st, perf_ref(PERF_SET_ASK, rig->asked, 0), request);
	rig->asked++;
}

json_t *perf_ask_end(struct perf_rig *rig)
{
	const struct swarm_ref reply = perf_ref(PERF_SET_REPLY, rig->asked - 1, PERF_SERVER_NODE);
	const char *error;
	json_t *doc;
	int rc = get_json(rig->st, reply, ANSWER_NS, &doc);

	if (rc)
		perf_die(rig->o, "the server does not answer: %s", swarm_strerror(rc));
	(void)swarm_store_delete(rig->st, reply);
	error = json_string_value(json_object_get(doc, "error"));
	if (error)
		perf_die(rig->o, "the server: %s", error);
	return doc;
}

json_t *perf_ask(struct perf_rig *rig, json_t *request)
{
	perf_ask_begin(rig, request);
	return perf_ask_end(rig);
}

/* ---- the server's side ---- */

static bool anybody_there(struct swarm_store *st)
{
	bool up = false;
	char *text;
	json_t *doc, *peer;
	size_t i;

	if (swarm_store_status(st, &text))
		return false;
	doc = json_loads(text, 0, NULL);
	json_array_foreach (json_object_get(doc, "peers"), i, peer)
		up |= json_is_true(json_object_get(peer, "up"));
	json_decref(doc);
	free(text);
	return up;
}

/* 0, or < 0: nobody asks any more. It waits for ever for somebody to come, but not for one who came and went. */
static int next_request(struct perf_server *s, uint64_t number, json_t **out)
{
	uint64_t alone = 0;

	for (;;) {
		const int rc = get_json(s->st, perf_ref(PERF_SET_ASK, number, 0), LOOK_NS, out);

		if (!rc || rc == -EPROTO)
			return rc;
		if (anybody_there(s->st))
			alone = 0;
		else if (!alone)
			alone = perf_now();
		else if ((number || perf_status(s->st, "transport.msgs_received")) && perf_now() - alone > LOST_NS)
			return SWARM_EPEERLOST;
	}
}

static struct swarm_store *open_server(const struct perf_opts *o, uint64_t arena, const char *key, bool loopback)
{
	char bind[128];
	const char *host = o->bind ? o->bind : loopback ? "127.0.0.1" : "0.0.0.0";

	snprintf(bind, sizeof(bind), strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
		 loopback ? 0 : o->port);
	return perf_open(o, arena, 0, NULL, bind, key, PERF_SERVER_NODE);
}

int perf_serve(const struct perf_opts *o, uint64_t arena, const char *key, int out_fd)
{
	uint8_t bytes[SWI_CLUSTER_KEY_BYTES];
	char path[PERF_PATH_MAX], why[256] = "";
	struct perf_server s = {.o = o, .arena = arena, .key = key ? key : path};
	json_t *request;
	int rc = 0;

	setenv("SWARM_LOG", "error", 0); /* that a client comes and goes is no event here */
	if (!key) {
		perf_key_path(o, path, sizeof(path));
		if (!o->key_file && !swi_default_dir(why, sizeof(why)))
			(void)mkdir(why, 0700); /* where the key goes; what is wrong with it, the key says */
		if (swi_key_make(path, bytes, why, sizeof(why)))
			perf_die(o, "%s", why);
	}
	s.st = open_server(o, arena, s.key, out_fd >= 0);
	if (out_fd >= 0) {
		dprintf(out_fd, "%s\n", swarm_store_address(s.st));
	} else {
		printf("waiting for a client: %s [OPTION]... HOST (here %s, cluster key %s)\n", o->program,
		       swarm_store_address(s.st), s.key);
		if (o->size_text || o->all_sizes || o->iters || o->duration_ns || o->outs || o->depth || o->threads > 1)
			printf("sizes, numbers and threads are the client's to give; those given here are not used\n");
		fflush(stdout);
	}
	for (uint64_t number = 0; !rc && !s.over; number++) {
		const struct swarm_ref ask = perf_ref(PERF_SET_ASK, number, 0);

		rc = next_request(&s, number, &request);
		if (rc)
			break;
		put_json(o, s.st, perf_ref(PERF_SET_REPLY, number, PERF_SERVER_NODE),
			 perf_serve_one(&s, request));
		json_decref(request);
		(void)swarm_store_delete(s.st, ask);
	}
	if (!rc) /* the last answer has to be fetched before its store goes */
		for (const uint64_t end = perf_now() + LOST_NS; anybody_there(s.st) && perf_now() < end;)
			(void)get_json(s.st, perf_ref(PERF_SET_ASK, UINT32_MAX, 0), LOOK_NS / 10, &request);
	swarm_store_close(s.st);
	if (rc && out_fd < 0)
		fprintf(stderr, "%s: the client is gone\n", o->program);
	return rc ? 1 : 0;
}
