/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.h - the other end of a harness: a store with the objects that the client asks for. Requests and answers
 * are objects themselves (JSON), so there is no second channel and nobody without the cluster key is heard.
 *
 * A request {"cmd": ..} is a named object with the next number, an answer an object of the server's.
 *   hello {node, version}      -> {"arena_bytes", "backend"}; both ends have to be of one version
 *   make {set, count, size}    -> objects of perf_ref(set, 0 .. count - 1, server)
 *   drop {set, count}          -> deleted
 *   pull {set, count, size, home, threads, iters, check} -> the server gets the client's objects; {"ns", "ops"}
 *   pong {set, count, size, home} -> answers object i of set by object i of set + 1, count times
 *   raw {size}                 -> {"address"}: a bare transport with memory to READ, until it is left
 *   tool {args}                -> {"port"}: the server's side of a program of perftest or fabtests
 *   status                     -> the status document
 *   end
 * Every number is checked: a request that asks for too much is answered with {"error"}.
 */
#ifndef SWARM_PERF_SERVE_H
#define SWARM_PERF_SERVE_H

#include "perf/common/rig.h"

#define PERF_SET_ASK   1u
#define PERF_SET_REPLY 2u
#define PERF_SET_FIRST 16u /* objects of the harnesses */

struct perf_server {
	const struct perf_opts *o;
	struct swarm_store *st;
	uint64_t arena;
	const char *key;
	bool over;
};

/* Serves one client. @key: NULL = perf_key_path(), made when it is not there. @out_fd: gets the address; -1 = for a person. */
int perf_serve(const struct perf_opts *o, uint64_t arena, const char *key, int out_fd);
/* --key-file, else the key of this user's node. */
void perf_key_path(const struct perf_opts *o, char *buf, size_t len);
/* The client's side: asks and waits. Takes @request; the answer is the caller's. An error ends the program. */
json_t *perf_ask(struct perf_rig *rig, json_t *request);
/* The two halves of it, for what runs meanwhile. */
void perf_ask_begin(struct perf_rig *rig, json_t *request);
json_t *perf_ask_end(struct perf_rig *rig);

/* serve_cmd.c: the answer to @request. */
json_t *perf_serve_one(struct perf_server *s, const json_t *request);

#endif
