/* SPDX-License-Identifier: Apache-2.0 */
/* env.c - the real environment: the only place that asks the kernel for time or randomness. */
#include <sys/random.h>
#include <time.h>

#include "transport/base/base.h"
#include "transport/base/env.h"

static uint64_t real_now(struct swi_env *env SWI_UNUSED)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec + 1;
}

static uint64_t real_rand(struct swi_env *env SWI_UNUSED)
{
	uint64_t v;

	SWI_BUG_ON(getrandom(&v, sizeof(v), 0) != (ssize_t)sizeof(v));
	return v;
}

struct swi_env *swi_env_real(void)
{
	static struct swi_env env = {.now_ns = real_now, .rand64 = real_rand};

	return &env;
}
