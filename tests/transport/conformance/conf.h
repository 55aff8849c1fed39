/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf.h - the small world that the conformance suite plays in.
 *
 * A struct node is one end of the network with its memory and a record of what its handler was
 * told. All nodes of a process are driven by one loop, conf_wait(), which sleeps on their
 * descriptors whenever they say that they may sleep (so a missed wake-up is a failed test), or
 * steps the virtual clock of the simulator.
 */
#ifndef CONF_H
#define CONF_H

#include "transport/conn.h"

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			conf_fail(__FILE__, __LINE__, #cond);                                      \
	} while (0)
#define CHECK_EQ(a, b)                                                                             \
	do {                                                                                       \
		const long long conf_a = (long long)(a), conf_b = (long long)(b);                  \
		if (conf_a != conf_b)                                                              \
			conf_fail_eq(__FILE__, __LINE__, #a " == " #b, conf_a, conf_b);            \
	} while (0)

#define CONF_ALIAS MIB(64)

struct conf {
	const char *backend; /* argv[1] */
	const char *bind;    /* argv[2] */
	uint64_t big;        /* bytes of the largest READ */
	void *param;         /* for the backend */
	bool sim, two_processes;
	bool cards;	     /* verbs is under it */
	struct swi_env *env;
	const char *test; /* that runs */
};
extern struct conf conf;

struct node {
	struct swi_tp *tp;
	struct swi_log log;
	uint8_t *mem;
	uint64_t len;
	int memfd; /* behind mem */
	/* what the handler was told */
	struct swi_conn *conn; /* the last that came up */
	struct swi_conn *conns[16];
	uint32_t conn_count, ups, downs, msgs;
	int down_status;
	/* the test's own handlers; NULL = only count */
	void (*on_up)(struct node *n, struct swi_conn *c, bool inbound);
	void (*on_msg)(struct node *n, struct swi_conn *c, uint16_t type, const uint8_t *body,
		       uint32_t len);
	void (*on_down)(struct node *n, struct swi_conn *c, int status);
	void *ctx;
};

struct node_opts {
	uint32_t node;
	uint64_t epoch;
	uint64_t mem; /* bytes registered as SWI_REGION_ARENA; 0 = none */
	bool listen;
	bool alias;  /* the same CONF_ALIAS bytes again and again: large without being expensive */
	uint8_t key; /* every byte of the key */
	const char *bind; /* NULL = conf.bind */
	uint64_t silence_ns, connect_ns;
};

struct read { /* a READ and what became of it */
	struct swi_read rd;
	int status;
	uint32_t calls;
};

_Noreturn void conf_fail(const char *file, int line, const char *what);
_Noreturn void conf_fail_eq(const char *file, int line, const char *what, long long a, long long b);

/* conf_sim.c: the backend's parameter, and virtual time. */
void conf_setup(void);
void conf_teardown(void);
/* conf_raw.c: peers without a transport of their own. */
int conf_raw_progress(void);
bool conf_raw_idle(void);
bool conf_raw_open(void);
void conf_sim_step(struct node **nodes, uint32_t count, uint64_t until);

void node_open(struct node *n, const struct node_opts *o);
void node_close(struct node *n);
/* Runs every open node until @done(ctx), at most @limit_ms of real (sim: virtual) time. False: too
 * late. */
bool conf_wait_ms(bool (*done)(void *ctx), void *ctx, uint64_t limit_ms);
/* The same with a limit that only a broken run meets (emulated machines are slow), and a failure then. */
void conf_wait(bool (*done)(void *ctx), void *ctx);
/* Runs for so long. */
void conf_idle_ms(uint64_t ms);
uint64_t conf_now(void);
/* @a connects to @b; returns when both are up. */
struct swi_conn *conf_connect(struct node *a, struct node *b);
void conf_connect_fails(struct node *a, const char *addr, int *out_status);

void conf_fill(uint8_t *p, uint64_t len, uint64_t seed);
/* The byte that conf_fill() put at @at. */
bool conf_same(const uint8_t *p, uint64_t len, uint64_t seed, uint64_t at);

void read_init(struct read *r);
/* One READ, waited for. Its status. */
int read_sync(struct node *a, struct swi_conn *c, uint64_t remote, uint64_t local, uint64_t len);
uint32_t conf_fd_count(void);

/* The tests, by file. */
void test_basic(void);   /* conf_basic.c: up, identity, registration, ports */
void test_reads(void);   /* conf_reads.c */
void test_msgs(void);    /* conf_msgs.c */
void test_hostile(void); /* conf_hostile.c: keys, versions, nonsense, keys of regions */
void test_ends(void);    /* conf_ends.c: closing, dying, silence, reconnecting */
void test_addrs(void);   /* conf_addrs.c: a peer with several addresses */
void conf_serve(void);   /* the other process of it */
void conf_rounds(uint32_t rounds); /* conf_rounds.c: a long command of its own */
void test_crash(void);   /* conf_crash.c: real processes, really killed */

#endif
