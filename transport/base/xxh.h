/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xxh.h - XXH3; include this instead of <xxhash.h>.
 *
 * The library's plain functions are built for the oldest processor that it supports. Where it also
 * brings those that choose the widest vectors at run time, these take their names here. The digests
 * are the same.
 */
#ifndef SWI_XXH_H
#define SWI_XXH_H

#include <xxhash.h>
#ifdef SWI_XXH_DISPATCH
#include <xxh_x86dispatch.h>
#endif

#endif
