/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth.h - proof of the cluster key without sending it.
 *
 * Both sides contribute a fresh nonce of 32 bytes. Each proof is HMAC-SHA256 with the cluster key
 * over a role, the wire version, both nonces and both identities, so that a proof can neither be
 * replayed, nor reflected, nor moved to another pair of nodes. The READY proofs also cover the
 * region table that they travel with. No state; any thread.
 */
#ifndef SWI_AUTH_H
#define SWI_AUTH_H

#include "transport/wire.h"

enum swi_auth_role {
	SWI_AUTH_CONNECTOR,       /* RESPONSE */
	SWI_AUTH_READY_ACCEPTOR,  /* READY of the acceptor */
	SWI_AUTH_READY_CONNECTOR, /* READY of the connector */
	SWI_AUTH_PATHS,		  /* sent by nobody: the secret of a connection of several paths */
};

/* What both sides saw: the connector's HELLO and the acceptor's CHALLENGE. */
struct swi_auth_transcript {
	struct swi_wire_hello hello, challenge;
};

void swi_auth_nonce(struct swi_env *env, uint8_t out_nonce[SWI_NONCE_BYTES]);
/* @extra: what the proof covers besides the transcript, may be NULL/0. */
void swi_auth_proof(const uint8_t key[SWI_CLUSTER_KEY_BYTES], enum swi_auth_role role,
		    const struct swi_auth_transcript *t, const void *extra, uint32_t extra_len,
		    uint8_t out_mac[SWI_MAC_BYTES]);
/* Compares in constant time. 0 or SWARM_EAUTH. */
int swi_auth_verify(const uint8_t key[SWI_CLUSTER_KEY_BYTES], enum swi_auth_role role,
		    const struct swi_auth_transcript *t, const void *extra, uint32_t extra_len,
		    const uint8_t mac[SWI_MAC_BYTES]);

#endif
