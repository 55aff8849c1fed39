/* SPDX-License-Identifier: Apache-2.0 */
/* auth.c - a proof holds for one key, one role, one pair of nonces and identities, and one table.
 */
#include "check.h"

#include "transport/auth.h"

static const uint8_t key[SWI_CLUSTER_KEY_BYTES] = {1, 2, 3};

static uint64_t rand_seeded(struct swi_env *env SWI_UNUSED)
{
	static uint64_t state = 11;

	return swi_splitmix64(&state);
}

static void sample(struct swi_auth_transcript *t)
{
	struct swi_env env = {.rand64 = rand_seeded};

	memset(t, 0, sizeof(*t));
	swi_auth_nonce(&env, t->hello.nonce);
	swi_auth_nonce(&env, t->challenge.nonce);
	t->hello.id.node = 1;
	t->challenge.id.node = 2;
	snprintf(t->challenge.id.address, sizeof(t->challenge.id.address), "10.0.0.1:7");
}

static void proof__verifies_and_known_answer(void **state)
{
	/* HMAC-SHA256 over the documented bytes, computed with another implementation. */
	static const uint8_t want[SWI_MAC_BYTES] = {0xb2, 0xe0, 0x4a, 0x4e, 0xfb, 0x31, 0x83, 0x53,
						    0x13, 0x81, 0x23, 0xde, 0x0f, 0x1c, 0x22, 0xa9,
						    0x54, 0xfd, 0x17, 0xfe, 0xc3, 0xd5, 0x98, 0x15,
						    0x93, 0xba, 0x3f, 0xb1, 0x9c, 0x9a, 0x58, 0xc4};
	struct swi_auth_transcript t;
	uint8_t mac[SWI_MAC_BYTES], again[SWI_MAC_BYTES];

	(void)state;
	sample(&t);
	swi_auth_proof(key, SWI_AUTH_CONNECTOR, &t, NULL, 0, mac);
	swi_auth_proof(key, SWI_AUTH_CONNECTOR, &t, NULL, 0, again);
	assert_memory_equal(mac, again, sizeof(mac));
	assert_int_equal(swi_auth_verify(key, SWI_AUTH_CONNECTOR, &t, NULL, 0, mac), 0);
	memset(t.hello.nonce, 0x11, SWI_NONCE_BYTES);
	memset(t.challenge.nonce, 0x22, SWI_NONCE_BYTES);
	t.hello.id.epoch = 5;
	t.challenge.id.epoch = 6;
	swi_auth_proof(key, SWI_AUTH_CONNECTOR, &t, NULL, 0, again);
	assert_memory_equal(again, want, sizeof(want));
	sample(&t);
	swi_auth_proof(key, SWI_AUTH_CONNECTOR, &t, NULL, 0, mac);
	for (unsigned int bit = 0; bit < 8 * SWI_MAC_BYTES; bit++) {
		memcpy(again, mac, sizeof(mac));
		again[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(swi_auth_verify(key, SWI_AUTH_CONNECTOR, &t, NULL, 0, again),
				 SWARM_EAUTH);
	}
}

static void proof__does_not_fit_anything_else(void **state)
{
	uint8_t other_key[SWI_CLUSTER_KEY_BYTES] = {1, 2, 4};
	struct swi_auth_transcript t, u;
	uint8_t mac[SWI_MAC_BYTES];

	(void)state;
	sample(&t);
	swi_auth_proof(key, SWI_AUTH_READY_ACCEPTOR, &t, "table", 5, mac);
	assert_int_equal(swi_auth_verify(key, SWI_AUTH_READY_ACCEPTOR, &t, "table", 5, mac), 0);
	assert_int_equal(swi_auth_verify(other_key, SWI_AUTH_READY_ACCEPTOR, &t, "table", 5, mac),
			 SWARM_EAUTH);
	assert_int_equal(swi_auth_verify(key, SWI_AUTH_READY_CONNECTOR, &t, "table", 5, mac),
			 SWARM_EAUTH);
	assert_int_equal(swi_auth_verify(key, SWI_AUTH_CONNECTOR, &t, "table", 5, mac),
			 SWARM_EAUTH);
	assert_int_equal(swi_auth_verify(key, SWI_AUTH_READY_ACCEPTOR, &t, "tabla", 5, mac),
			 SWARM_EAUTH);
	assert_int_equal(swi_auth_verify(key, SWI_AUTH_READY_ACCEPTOR, &t, "table", 4, mac),
			 SWARM_EAUTH);
	u = t;
	u.hello.nonce[31] ^= 1;
	assert_int_equal(swi_auth_verify(key, SWI_AUTH_READY_ACCEPTOR, &u, "table", 5, mac),
			 SWARM_EAUTH);
	u = t;
	u.challenge.id.epoch++;
	assert_int_equal(swi_auth_verify(key, SWI_AUTH_READY_ACCEPTOR, &u, "table", 5, mac),
			 SWARM_EAUTH);
	u = t;
	u.hello.id.node = 9;
	assert_int_equal(swi_auth_verify(key, SWI_AUTH_READY_ACCEPTOR, &u, "table", 5, mac),
			 SWARM_EAUTH);
	u.hello = t.challenge; /* reflected */
	u.challenge = t.hello;
	assert_int_equal(swi_auth_verify(key, SWI_AUTH_READY_ACCEPTOR, &u, "table", 5, mac),
			 SWARM_EAUTH);
}

static void nonce__is_fresh(void **state)
{
	uint8_t a[SWI_NONCE_BYTES], b[SWI_NONCE_BYTES];

	(void)state;
	swi_auth_nonce(swi_env_real(), a);
	swi_auth_nonce(swi_env_real(), b);
	assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(proof__verifies_and_known_answer),
	    cmocka_unit_test(proof__does_not_fit_anything_else),
	    cmocka_unit_test(nonce__is_fresh),
	};

	return RUN(tests);
}
