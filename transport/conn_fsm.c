/* SPDX-License-Identifier: Apache-2.0 */
/* conn_fsm.c - see conn_fsm.h. */
#include "transport/conn_fsm.h"

#define EDGE(from, ev, to, why) [SWI_CONN_##from][SWI_EV_##ev] = SWI_CONN_##to,
static const uint8_t next[SWI_CONN_STATE_COUNT][SWI_EV_COUNT] = {SWI_CONN_EDGES(EDGE)};

static const char *const state_names[] = {"NONE",
#define X(name, why) #name,
					  SWI_CONN_STATES(X)
#undef X
};

static const char *const event_names[] = {
#define X(name) #name,
    SWI_CONN_EVENTS(X)
#undef X
};

enum swi_conn_state swi_conn_next(enum swi_conn_state from, enum swi_conn_event ev)
{
	return (enum swi_conn_state)next[from][ev];
}

const char *swi_conn_state_name(enum swi_conn_state s)
{
	return state_names[s];
}

const char *swi_conn_event_name(enum swi_conn_event ev)
{
	return event_names[ev];
}
