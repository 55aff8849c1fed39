/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_err.c - every foreign error becomes one of ours here: work completions, rdma_cm events,
 * errno. No state.
 */
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "transport/verbs/verbs.h"

int swi_verbs_wc_error(enum ibv_wc_status status)
{
	switch (status) {
	case IBV_WC_SUCCESS:
		return 0;
	case IBV_WC_REM_ACCESS_ERR:
	case IBV_WC_REM_INV_REQ_ERR: /* what a card says that allows no reads at all */
		return SWARM_EREMOTEACCESS;
	case IBV_WC_WR_FLUSH_ERR:
	case IBV_WC_RETRY_EXC_ERR:
	case IBV_WC_RNR_RETRY_EXC_ERR:
	case IBV_WC_REM_ABORT_ERR:
	case IBV_WC_REM_OP_ERR:
	case IBV_WC_RESP_TIMEOUT_ERR:
		return SWARM_EPEERLOST;
	case IBV_WC_LOC_LEN_ERR: /* a message larger than any of ours */
		return SWARM_EPROTO;
	case IBV_WC_LOC_PROT_ERR:
	case IBV_WC_LOC_ACCESS_ERR:
		return -EFAULT;
	default:
		return -EIO;
	}
}

/*
 * @up: the connection was up. Whatever ends it then is the peer's end: one that closes before the
 * kernel there saw the last step of the handshake sends a rejection instead of a disconnect.
 */
int swi_verbs_cm_error(enum rdma_cm_event_type type, int status, bool up)
{
	if (up)
		return SWARM_EPEERLOST;
	switch (type) {
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
		return status < 0 ? status : -EHOSTUNREACH;
	case RDMA_CM_EVENT_REJECTED: /* status: 8 = nobody listens, 28 = the other program refused
				      */
		return status == 28 ? SWARM_EPROTO : -ECONNREFUSED;
	case RDMA_CM_EVENT_UNREACHABLE:
		return status < 0 ? status : -EHOSTUNREACH;
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
	default:
		return SWARM_EPEERLOST;
	}
}

/* errno of a call that failed, never 0. */
int swi_verbs_errno(int err)
{
	return err > 0 ? -err : -EIO;
}

static bool may_lock_memory(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &head, data) != 0)
		return false;
	return data[0].effective & 1u << CAP_IPC_LOCK;
}

/* The kernel says ENOMEM both for no memory and for a small RLIMIT_MEMLOCK; people need to know. */
int swi_verbs_reg_error(int err)
{
	struct rlimit lim;

	if ((err != ENOMEM && err != EAGAIN) || may_lock_memory())
		return err == EAGAIN ? -ENOMEM : swi_verbs_errno(err);
	if (getrlimit(RLIMIT_MEMLOCK, &lim) != 0 || lim.rlim_cur == RLIM_INFINITY)
		return -ENOMEM;
	return SWARM_EMEMLOCK;
}
