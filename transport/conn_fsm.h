/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn_fsm.h - the states of a connection, as one list of edges.
 *
 * The table, the names and the test of conn_fsm.dot all come from CONN_EDGES. swi_conn_move() in conn.c is the
 * only function that changes a state; what is not an edge is refused and changes nothing.
 */
#ifndef SWI_CONN_FSM_H
#define SWI_CONN_FSM_H

#include "transport/base/base.h"

#define SWI_CONN_STATES(X)                                                                         \
	X(CONNECTING, "the backend connects")                                                      \
	X(HELLO_SENT, "connector: waits for CHALLENGE")                                            \
	X(RESPONSE_SENT, "connector: waits for the acceptor's READY")                              \
	X(AWAIT_HELLO, "acceptor: waits for HELLO")                                                \
	X(AWAIT_RESPONSE, "acceptor: CHALLENGE sent, waits for RESPONSE")                          \
	X(AWAIT_READY, "acceptor: READY sent, waits for the connector's READY")                    \
	X(UP, "both sides proved the key")                                                         \
	X(LINGER, "REJECT sent; waits for the peer to close, so that it reads it")                 \
	X(DRAINING, "endpoint closed; waits for the last READ to end")                             \
	X(DOWN, "nothing in flight; reported, then freed")

#define SWI_CONN_EVENTS(X)                                                                         \
	X(CONNECTED)                                                                               \
	X(RX_HELLO)                                                                                \
	X(RX_CHALLENGE)                                                                            \
	X(RX_RESPONSE)                                                                             \
	X(RX_READY)                                                                                \
	X(REFUSE)                                                                                  \
	X(LOST)                                                                                    \
	X(CLOSED)

#define SWI_CONN_EDGES(X)                                                                          \
	X(CONNECTING, CONNECTED, HELLO_SENT, "send HELLO")                                         \
	X(CONNECTING, LOST, DRAINING, "never came up, or closed by us")                            \
	X(HELLO_SENT, RX_CHALLENGE, RESPONSE_SENT, "send our proof")                               \
	X(HELLO_SENT, REFUSE, LINGER, "other version or nonsense")                                 \
	X(HELLO_SENT, LOST, DRAINING, "rejected, timed out or lost")                               \
	X(RESPONSE_SENT, RX_READY, UP, "acceptor proved the key; send our READY")                  \
	X(RESPONSE_SENT, REFUSE, LINGER, "the acceptor's proof is wrong")                          \
	X(RESPONSE_SENT, LOST, DRAINING, "rejected, timed out or lost")                            \
	X(AWAIT_HELLO, RX_HELLO, AWAIT_RESPONSE, "send CHALLENGE")                                 \
	X(AWAIT_HELLO, REFUSE, LINGER, "other version or nonsense")                                \
	X(AWAIT_HELLO, LOST, DRAINING, "timed out or lost")                                        \
	X(AWAIT_RESPONSE, RX_RESPONSE, AWAIT_READY, "proof is right; send READY with our keys")    \
	X(AWAIT_RESPONSE, REFUSE, LINGER, "the connector's proof is wrong")                        \
	X(AWAIT_RESPONSE, LOST, DRAINING, "timed out or lost")                                     \
	X(AWAIT_READY, RX_READY, UP, "connector has our keys and we have its own")                 \
	X(AWAIT_READY, REFUSE, LINGER, "the connector's table is not proven")                      \
	X(AWAIT_READY, LOST, DRAINING, "rejected, timed out or lost")                              \
	X(UP, REFUSE, LINGER, "nonsense from the peer; tell it")                                   \
	X(UP, LOST, DRAINING, "closed by us, silent or lost")                                      \
	X(LINGER, LOST, DRAINING, "the peer closed, or has had its time")                          \
	X(DRAINING, CLOSED, DOWN, "the card is done with our memory")

enum swi_conn_state {
	SWI_CONN_NONE, /* 0 in the table: not an edge */
#define X(name, why) SWI_CONN_##name,
	SWI_CONN_STATES(X)
#undef X
	    SWI_CONN_STATE_COUNT
};

enum swi_conn_event {
#define X(name) SWI_EV_##name,
	SWI_CONN_EVENTS(X)
#undef X
	    SWI_EV_COUNT
};

/* The state after @ev, or SWI_CONN_NONE when that is not an edge. */
enum swi_conn_state swi_conn_next(enum swi_conn_state from, enum swi_conn_event ev);
const char *swi_conn_state_name(enum swi_conn_state s);
const char *swi_conn_event_name(enum swi_conn_event ev);

#endif
