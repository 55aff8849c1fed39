/* SPDX-License-Identifier: Apache-2.0 */
/*
 * info.c - which transports are built in and which of them can be opened here. The answer is had by
 * trying: a backend is opened without a listener and closed again, so nothing is guessed from files.
 */
#include <swarm/transport.h>

#include "transport/ops.h"

static void try_open(const struct swi_be_ops *ops, struct swarm_transport_info *row)
{
	static const struct swi_be_events no_events;
	struct swi_log quiet = {.level = SWI_LOG_NONE};
	const struct swi_be_open_args args = {
		.env = swi_env_real(),
		.log = &quiet,
		.events = &no_events,
	};
	struct swi_be *be = NULL;
	int err;

	row->flags |= SWARM_TRANSPORT_BUILT_IN;
	err = ops->open(&args, &be, row->why, sizeof(row->why));
	if (err < 0) {
		if (!row->why[0])
			snprintf(row->why, sizeof(row->why), "%s", swarm_strerror(err));
		return;
	}
	row->flags |= SWARM_TRANSPORT_AVAILABLE;
	row->why[0] = '\0';
	snprintf(row->device, sizeof(row->device), "%s", ops->device(be));
	ops->close(be);
}

uint32_t swarm_transport_list(struct swarm_transport_info *out_rows, uint32_t max)
{
	const struct {
		const char *name;
		const struct swi_be_ops *ops;
	} all[] = {{"verbs", swi_be_verbs}, {"ofi", swi_be_ofi}, {"shm", swi_be_shm}};

	for (uint32_t i = 0; i < SWI_ARRAY_LEN(all) && i < max; i++) {
		struct swarm_transport_info *row = &out_rows[i];

		memset(row, 0, sizeof(*row));
		snprintf(row->name, sizeof(row->name), "%s", all[i].name);
		if (all[i].ops)
			try_open(all[i].ops, row);
		else
			snprintf(row->why, sizeof(row->why),
				 "this library was built without the %s transport", all[i].name);
	}
	return (uint32_t)SWI_ARRAY_LEN(all);
}
