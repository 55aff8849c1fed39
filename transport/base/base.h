/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base.h - the few macros that every file uses. No state, no dependencies.
 */
#ifndef SWI_BASE_H
#define SWI_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <swarm/error.h>
#include <swarm/types.h>

#define SWI_CACHE_LINE 64u
#define SWI_PAGE       4096u

#define KIB(x) ((uint64_t)(x) << 10)
#define MIB(x) ((uint64_t)(x) << 20)
#define GIB(x) ((uint64_t)(x) << 30)

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

#define SWI_LIKELY(x)	__builtin_expect(!!(x), 1)
#define SWI_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define SWI_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define SWI_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define SWI_UNUSED	 __attribute__((unused))
/* A function that reads what others may be writing, and believes none of it before something else proves it. */
#define SWI_READS_RACY	 __attribute__((no_sanitize("thread")))

#define swi_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* A broken invariant of our own: stop at once, in every build type. Never for foreign input. */
#define SWI_BUG_ON(cond)                                                                           \
	do {                                                                                       \
		if (SWI_UNLIKELY(cond)) {                                                          \
			fprintf(stderr, "swarm: bug at %s:%d: %s\n", __FILE__, __LINE__, #cond);   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static inline uint64_t swi_align_up(uint64_t v, uint64_t a)
{
	return (v + a - 1) & ~(a - 1);
}

static inline uint64_t swi_align_down(uint64_t v, uint64_t a)
{
	return v & ~(a - 1);
}

static inline bool swi_is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}

static inline uint64_t swi_min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t swi_max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* a + b, or UINT64_MAX where it would wrap: deadlines. */
static inline uint64_t swi_sat_add(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static inline uint64_t swi_next_pow2(uint64_t v)
{
	uint64_t p = 1;

	while (p < v)
		p <<= 1;
	return p;
}

static inline void swi_cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

/*
 * A hint that the line will be written. The baseline of x86-64 has no such instruction, so the compiler would ask for a
 * line to read; a processor that does not know it takes it for a no-op.
 */
static inline void swi_prefetch_own(const void *p)
{
#if defined(__x86_64__)
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
	__builtin_prefetch(p, 1);
#endif
}

static inline bool swi_oid_is_zero(struct swarm_oid id)
{
	return id.w[0] == 0 && id.w[1] == 0;
}

#endif
