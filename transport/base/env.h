/* SPDX-License-Identifier: Apache-2.0 */
/*
 * env.h - time and randomness as a table. The core never asks the kernel for either: the real
 * node plugs in the monotonic clock and getrandom(2), the simulator virtual time and a seed.
 */
#ifndef SWI_ENV_H
#define SWI_ENV_H

#include <stdint.h>

struct swi_env {
	uint64_t (*now_ns)(struct swi_env *env); /* monotonic, never 0 */
	uint64_t (*rand64)(struct swi_env *env);
};

static inline uint64_t swi_now(struct swi_env *env)
{
	return env->now_ns(env);
}

static inline uint64_t swi_rand(struct swi_env *env)
{
	return env->rand64(env);
}

/* The real one: CLOCK_MONOTONIC and getrandom(2). One instance serves the whole process; any thread. */
struct swi_env *swi_env_real(void);

/* splitmix64 (Steele, Lea, Flood 2014): a seeded generator for simulation and tests. */
static inline uint64_t swi_splitmix64(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

#endif
