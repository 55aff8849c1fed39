/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backends.c - which backends are built in: the only file that knows it at compile time.
 * The build defines SWARM_HAVE_VERBS and SWARM_HAVE_OFI as 0 or 1.
 */
#include "transport/ops.h"

#if SWARM_HAVE_VERBS
extern const struct swi_be_ops swi_verbs_ops;
const struct swi_be_ops *const swi_be_verbs = &swi_verbs_ops;
#else
const struct swi_be_ops *const swi_be_verbs = NULL;
#endif

#if SWARM_HAVE_OFI
extern const struct swi_be_ops swi_ofi_ops;
const struct swi_be_ops *const swi_be_ofi = &swi_ofi_ops;
#else
const struct swi_be_ops *const swi_be_ofi = NULL;
#endif

extern const struct swi_be_ops swi_shm_ops;
extern const struct swi_be_ops swi_sim_ops;
extern const struct swi_be_ops swi_fault_ops;
extern const struct swi_be_ops swi_paths_ops;
const struct swi_be_ops *const swi_be_shm = &swi_shm_ops;
const struct swi_be_ops *const swi_be_sim = &swi_sim_ops;
const struct swi_be_ops *const swi_be_fault = &swi_fault_ops;
const struct swi_be_ops *const swi_be_paths = &swi_paths_ops;
