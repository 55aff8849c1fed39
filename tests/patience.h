/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patience.h - how long a test waits for what must come.
 *
 * Such a limit ends a broken run; a slow machine, or a sanitizer, must not meet it. TEST_PATIENCE is
 * the build's factor (cmake/SwarmTest.cmake).
 */
#ifndef TEST_PATIENCE_H
#define TEST_PATIENCE_H

#define TEST_LIMIT_S  (20ull * TEST_PATIENCE)
#define TEST_LIMIT_NS (TEST_LIMIT_S * 1000000000ull)
#define TEST_LIMIT_MS ((int)TEST_LIMIT_S * 1000)

#endif
