/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_net.h - a network in virtual time, for many backends in one process.
 *
 * Time stands still until swi_simnet_advance() moves it. Everything that happens is decided by the
 * seed and by the order of the calls, never by an address in memory or a clock: the same seed and
 * the same calls give the same trace, byte for byte. A backend is opened with this network as its
 * parameter: swi_tp_opts{.backend = "sim", .param = net, .bind = "n1:1"}; addresses are any
 * NAME:PORT.
 *
 * What it models: latency with jitter and a tail, one outgoing queue of a given bandwidth a node,
 * messages in order a connection, READs whose bytes are copied at two instants (so that a reader
 * sees a torn object where one can be torn), keys, bounds and rights as a card checks them (a
 * violation ends the connection), 64 posted receives an endpoint (one message more ends the
 * connection and is counted), cut links (nothing is lost, nothing arrives, as with a card that
 * retries), nodes that die with or without a word. Owner thread only.
 */
#ifndef SWI_SIM_NET_H
#define SWI_SIM_NET_H

#include "transport/ops.h"

struct swi_simnet;

struct swi_simnet_opts { /* 0 = the default in brackets */
	uint64_t seed;
	uint64_t start_ns;      /* the time at the beginning [1 s] */
	uint64_t latency_ns;    /* one way, at least [2 us] */
	uint64_t jitter_ns;     /* added, uniform from 0 [1 us] */
	uint32_t tail_permille; /* so many of 1,000 take tail_ns longer [0] */
	uint64_t tail_ns;
	uint64_t bytes_per_s; /* of one node's outgoing link [12.5e9] */
	uint64_t max_read;    /* of the card [1 MiB] */
	uint64_t max_mr;      /* of the card, a multiple of the page [1 GiB] */
};

enum swi_sim_kill {
	SWI_SIM_KILL_SILENT, /* the host is gone: its peers hear nothing any more */
	SWI_SIM_KILL_RESET,  /* the process is gone: its kernel tells the peers */
};

struct swi_simnet_stats {
	uint64_t events, messages, reads, read_bytes;
	uint64_t refused_reads; /* bad key, bounds or rights */
	uint64_t overruns;      /* messages that found no receive posted: a fault of flow control */
};

/* -ENOMEM. */
int swi_simnet_create(const struct swi_simnet_opts *opts, struct swi_simnet **out_net);
/* Every backend is closed. NULL is fine. */
void swi_simnet_destroy(struct swi_simnet *net);

uint64_t swi_simnet_now(const struct swi_simnet *net);
/* When the next thing happens in the network, or UINT64_MAX. */
uint64_t swi_simnet_next_ns(const struct swi_simnet *net);
/* Moves time to @t and delivers what is due into the inboxes; progress() of the backends hands it
 * out. */
void swi_simnet_advance(struct swi_simnet *net, uint64_t t);

/* Between the nodes that listen on @a and @b, both ways. What was under way arrives after heal().
 */
void swi_simnet_cut(struct swi_simnet *net, const char *a, const char *b);
void swi_simnet_heal(struct swi_simnet *net, const char *a, const char *b);
/*
 * The backend that listens on @addr does nothing any more; the caller closes it when it likes. The
 * address is free: another backend may be opened on it (a new instance, with new keys).
 */
void swi_simnet_kill(struct swi_simnet *net, const char *addr, enum swi_sim_kill how);

/* One line for every event, without a newline. */
void swi_simnet_trace(struct swi_simnet *net, void (*trace)(void *ctx, const char *line),
		      void *ctx);
const struct swi_simnet_stats *swi_simnet_stats(const struct swi_simnet *net);

/* Virtual time, and a stream of random numbers of its own. */
struct swi_sim_env {
	struct swi_env env; /* first */
	struct swi_simnet *net;
	uint64_t state;
};
void swi_sim_env_init(struct swi_sim_env *e, struct swi_simnet *net, uint64_t seed);

#endif
