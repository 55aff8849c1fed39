/* SPDX-License-Identifier: Apache-2.0 */
/* ofi_err.c - libfabric's errors in our words, in one table. */
#include "transport/ofi/ofi.h"

static const struct {
	int fi, ours;
} rows[] = {
    {0, 0},
    {FI_EAGAIN, -EAGAIN},
    {FI_ENOMEM, -ENOMEM},
    {FI_EINVAL, -EINVAL},
    {FI_EMFILE, -EMFILE},
    {FI_EADDRINUSE, SWARM_EPORTUSED},
    {FI_EADDRNOTAVAIL, -EINVAL},
    {FI_EACCES, SWARM_EREMOTEACCESS},
    {FI_EPERM, SWARM_EREMOTEACCESS},
    {FI_EKEYREJECTED, SWARM_EREMOTEACCESS},
    {FI_EREMOTEIO, SWARM_EREMOTEACCESS},
    {FI_ECANCELED, SWARM_EPEERLOST},
    {FI_ENOTCONN, SWARM_EPEERLOST},
    {FI_ECONNRESET, SWARM_EPEERLOST},
    {FI_ECONNABORTED, SWARM_EPEERLOST},
    {FI_ESHUTDOWN, SWARM_EPEERLOST},
    {FI_ENODATA, SWARM_ENOTRANSPORT},
    {FI_ENOSYS, SWARM_ENOTRANSPORT},
};

int swi_ofi_err(int64_t fi_errno_value)
{
	const int64_t e = fi_errno_value < 0 ? -fi_errno_value : fi_errno_value;

	for (size_t i = 0; i < SWI_ARRAY_LEN(rows); i++)
		if (rows[i].fi == e)
			return rows[i].ours;
	return SWARM_EPEERLOST;
}

int swi_ofi_connect_err(int fi_errno_value)
{
	const int e = fi_errno_value < 0 ? -fi_errno_value : fi_errno_value;

	switch (e) {
	case FI_ECONNREFUSED:
		return -ECONNREFUSED;
	case FI_ETIMEDOUT:
		return -ETIMEDOUT;
	case FI_EHOSTUNREACH:
	case FI_ENETUNREACH:
		return -EHOSTUNREACH;
	default:
		return SWARM_EPEERLOST;
	}
}
