/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leak.h - for processes that end by _exit(): in a build with AddressSanitizer, look for leaks first, as exit() would.
 * In any other build nothing.
 */
#ifndef SWI_LEAK_H
#define SWI_LEAK_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SWI_LEAK_CHECK 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SWI_LEAK_CHECK 1
#endif

#ifdef SWI_LEAK_CHECK
#include <sanitizer/lsan_interface.h>
#endif

static inline void swi_leak_check(void)
{
#ifdef SWI_LEAK_CHECK
	__lsan_do_leak_check();
#endif
}

#endif
