/* SPDX-License-Identifier: Apache-2.0 */
/*
 * module.h - code as an object: the bytes of a shared object, named by their digest, turned into
 * callable functions inside a worker. Modules are loaded once and stay. One thread (the worker's main).
 */
#ifndef SWI_MODULE_H
#define SWI_MODULE_H

#include <swarm/sched.h>

#include "transport/base/base.h"

struct swi_modules;

/* The id of a module: XXH3-128 of its bytes. */
struct swarm_oid swi_module_id(const void *bytes, uint64_t len);
/* 0, or SWARM_EMODULE with @why: not an ELF shared object of this machine. */
int swi_module_check(const void *bytes, uint64_t len, char *why, size_t why_len);

/* The modules live as long as the process: their code may be in use until its end. */
int swi_modules_create(struct swi_modules **out);
/* Finds, loads if need be. SWARM_EMODULE, SWARM_ENOFUNC, SWARM_ECORRUPT or the store's errors, with @why. */
int swi_module_function(struct swi_modules *m, struct swarm_store *store, struct swarm_ref ref,
			const char *function, swarm_task_fn *out_fn, char *why, size_t why_len);

#endif
