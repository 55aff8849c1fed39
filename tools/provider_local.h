/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider_local.h - more nodes as further daemons on this host, each in <dir>/nodes/N. Owner thread: the host's.
 */
#ifndef SWT_PROVIDER_LOCAL_H
#define SWT_PROVIDER_LOCAL_H

#include "sched/node.h"
#include "store/host.h"
#include "tools/daemon_opts.h"

struct swt_provider;

struct swt_provider_opts {
	struct swi_host *host;
	struct swi_log *log;
	const struct swt_daemon_opts *daemon; /* of the head: its sizes are inherited */
	const char *head_address;
};

int swt_provider_create(const struct swt_provider_opts *opts, struct swt_provider **out, char *why,
			size_t why_len);
struct swi_provider_ops swt_provider_ops(struct swt_provider *p);
/* Time limits: a removed node that does not leave is killed. */
void swt_provider_step(struct swt_provider *p);
uint64_t swt_provider_deadline_ns(const struct swt_provider *p);
/* Ends every node and waits for it; NULL is fine. */
void swt_provider_destroy(struct swt_provider *p);

#endif
