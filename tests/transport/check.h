/* SPDX-License-Identifier: Apache-2.0 */
/* check.h - the includes of cmocka, in the order that it wants, for the unit tests of this folder.
 */
#ifndef CHECK_H
#define CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transport/base/base.h"

#define RUN(tests) cmocka_run_group_tests(tests, NULL, NULL)

#endif
