/* SPDX-License-Identifier: Apache-2.0 */
/* auth.c - see auth.h. libsodium's HMAC is used as it is; it needs no sodium_init(). */
#include <sodium.h>

#include "transport/auth.h"

static_assert(SWI_MAC_BYTES == crypto_auth_hmacsha256_BYTES, "the proof is one HMAC");

static const char *const role_names[] = {
    [SWI_AUTH_CONNECTOR] = "swarm connector",
    [SWI_AUTH_READY_ACCEPTOR] = "swarm ready acceptor",
    [SWI_AUTH_READY_CONNECTOR] = "swarm ready connector",
    [SWI_AUTH_PATHS] = "swarm paths",
};

void swi_auth_nonce(struct swi_env *env, uint8_t out_nonce[SWI_NONCE_BYTES])
{
	struct swi_wr w = swi_wr_init(out_nonce, SWI_NONCE_BYTES);

	for (unsigned int i = 0; i < SWI_NONCE_BYTES / 8; i++)
		swi_wr_u64(&w, swi_rand(env));
}

void swi_auth_proof(const uint8_t key[SWI_CLUSTER_KEY_BYTES], enum swi_auth_role role,
		    const struct swi_auth_transcript *t, const void *extra, uint32_t extra_len,
		    uint8_t out_mac[SWI_MAC_BYTES])
{
	uint8_t
	    buf[512]; /* every field is of bounded length, and length-prefixed where it varies */
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	crypto_auth_hmacsha256_state st;

	swi_wr_str(&w, role_names[role]);
	swi_wr_u32(&w, SWI_WIRE_VERSION);
	swi_wire_put_hello(&w, &t->hello);
	swi_wire_put_hello(&w, &t->challenge);
	swi_wr_u32(&w, extra_len);
	SWI_BUG_ON(!swi_wr_ok(&w));
	crypto_auth_hmacsha256_init(&st, key, SWI_CLUSTER_KEY_BYTES);
	crypto_auth_hmacsha256_update(&st, buf, w.len);
	if (extra_len)
		crypto_auth_hmacsha256_update(&st, extra, extra_len);
	crypto_auth_hmacsha256_final(&st, out_mac);
	sodium_memzero(&st, sizeof(st));
}

int swi_auth_verify(const uint8_t key[SWI_CLUSTER_KEY_BYTES], enum swi_auth_role role,
		    const struct swi_auth_transcript *t, const void *extra, uint32_t extra_len,
		    const uint8_t mac[SWI_MAC_BYTES])
{
	uint8_t want[SWI_MAC_BYTES];

	swi_auth_proof(key, role, t, extra, extra_len, want);
	return sodium_memcmp(want, mac, SWI_MAC_BYTES) ? SWARM_EAUTH : 0;
}
