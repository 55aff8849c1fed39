/* SPDX-License-Identifier: Apache-2.0 */
/* error.c - names, sentences and remedies of every error code, in one table. */
#include "transport/base/base.h"

struct row {
	int code;
	const char *name, *text, *remedy;
};

#define DOMAIN(code, text, remedy) {code, #code, text, remedy}
#define ERRNO(e, text)		   {-(e), #e, text, ""}

static const struct row rows[] = {
    DOMAIN(SWARM_OK, "done", ""),
    DOMAIN(SWARM_QUEUED, "accepted, not yet done", ""),
    DOMAIN(SWARM_EFULL, "the arena is full of objects that cannot leave it",
	   "release views, delete objects, give a spill folder (--spill-dir) or a larger arena (--arena)"),
    DOMAIN(SWARM_EMEMLOCK, "the limit on locked memory is too small for the arena",
	   "raise RLIMIT_MEMLOCK: 'ulimit -l unlimited', limits.conf, or LimitMEMLOCK= in the unit"),
    DOMAIN(SWARM_ENODAEMON, "no daemon answers there",
	   "start one with 'swarm start --head', or name its run directory (--dir, SWARM_DIR)"),
    DOMAIN(SWARM_EVERSION, "the other side speaks another version",
	   "run the same release of Swarm on every node and in every program"),
    DOMAIN(SWARM_ENOTRANSPORT, "the transport is not built in or has no device",
	   "see 'swarm info' for what there is; choose with --transport="),
    DOMAIN(SWARM_EINDEXFULL, "the index of objects is full",
	   "delete objects, or start the node with a larger --objects-max"),
    DOMAIN(SWARM_ENOROOM, "no node of the cluster can ever hold this request",
	   "ask for less, or add a node with these resources; 'swarm list nodes' shows what there is"),
    DOMAIN(SWARM_EPORTUSED, "the address to listen on is taken",
	   "choose another port, or port 0 for any"),
    DOMAIN(SWARM_EDISKFULL, "the spill folders have no room left",
	   "free space there, raise --spill-bytes, or add another --spill-dir"),
    DOMAIN(SWARM_EQUOTA, "this process has filled its quota of the arena (client_quota_bytes)",
	   "delete objects that it made, or raise the quota (swarm start --client-quota)"),
    DOMAIN(SWARM_EPINLIMIT, "more would be pinned hard in memory than the node allows (pin_bytes_max)",
	   "unpin objects, pin them soft, or raise the limit (swarm start --pin-max)"),
    DOMAIN(SWARM_EFEWNODES, "the cluster has fewer nodes than copies were asked for",
	   "ask for fewer copies, or add nodes; 'swarm list nodes' shows what there is"),
    DOMAIN(SWARM_ELOST, "the object is lost: no copy is left and it could not be rebuilt",
	   "run its task again, or put it again"),
    DOMAIN(SWARM_ECORRUPT, "the bytes do not match their digest", "check the memory and disk of the node named"),
    DOMAIN(SWARM_ESTALE, "the locator is of an earlier life of its node", "look the object up again"),
    DOMAIN(SWARM_EHOMELOST, "the object's home died and nobody inherited its record", "run its task again, or put it again"),
    DOMAIN(SWARM_EDELETED, "the object was deleted", ""),
    DOMAIN(SWARM_ESEALED, "the object is sealed already", "sealed objects never change; use a new id"),
    DOMAIN(SWARM_ETASK, "the task's function reported an error", ""),
    DOMAIN(SWARM_ECRASH, "the worker that ran the task died", "see the node's log for the signal; run the function by itself under a debugger"),
    DOMAIN(SWARM_ECANCELED, "the task was cancelled", ""),
    DOMAIN(SWARM_ENOFUNC, "the module has no function of that name",
	   "define it with SWARM_TASK(name) and check it with 'nm -D MODULE'"),
    DOMAIN(SWARM_EMODULE, "the module cannot be loaded", "build it with -shared -fPIC against the same libraries as the node's"),
    DOMAIN(SWARM_ETASKTIME, "the task ran longer than it may", "raise its timeout_ns"),
    DOMAIN(SWARM_EDEPENDENCY, "an argument of the task failed", "see the error of that argument"),
    DOMAIN(SWARM_EAUTH, "the cluster key is missing or wrong",
	   "copy the head's key file here (mode 0600) and name it with --key-file or SWARM_KEY_FILE"),
    DOMAIN(SWARM_EPEERLOST, "the connection to the peer ended", ""),
    DOMAIN(SWARM_EPROTO, "the other side sent what makes no sense", "run the same release everywhere"),
    DOMAIN(SWARM_EREMOTEACCESS, "the owner's card refused the access", ""),
    DOMAIN(SWARM_ESILENT, "the peer said nothing for too long", "check the network and the load of that host"),
    DOMAIN(SWARM_ENODELOST, "the node was declared dead", ""),
    DOMAIN(SWARM_EDRAINING, "the node is leaving the cluster", ""),
    ERRNO(EPERM, "not permitted"),
    ERRNO(ENOENT, "no such thing"),
    ERRNO(EINTR, "interrupted"),
    ERRNO(EIO, "input or output error"),
    ERRNO(E2BIG, "too large"),
    ERRNO(EAGAIN, "not now, try again"),
    ERRNO(ENOMEM, "out of memory"),
    ERRNO(EACCES, "access denied"),
    ERRNO(EFAULT, "bad address"),
    ERRNO(EBUSY, "busy"),
    ERRNO(EEXIST, "exists already"),
    ERRNO(EINVAL, "invalid argument"),
    ERRNO(ENOSPC, "no space left on the disk"),
    ERRNO(EPIPE, "the other side is gone"),
    ERRNO(ERANGE, "out of range"),
    ERRNO(ENOSYS, "not available on this system"),
    ERRNO(EPROTO, "protocol error"),
    ERRNO(EBADMSG, "malformed message"),
    ERRNO(EOVERFLOW, "value too large"),
    ERRNO(EMSGSIZE, "message too long"),
    ERRNO(EOPNOTSUPP, "not supported"),
    ERRNO(EADDRINUSE, "address in use"),
    ERRNO(ECONNREFUSED, "connection refused: nobody listens there"),
    ERRNO(ECONNRESET, "connection reset"),
    ERRNO(EHOSTUNREACH, "host unreachable"),
    ERRNO(ENOBUFS, "no buffer space"),
    ERRNO(ETIMEDOUT, "timed out"),
    ERRNO(ECANCELED, "cancelled"),
};

static const struct row *find(int code)
{
	for (size_t i = 0; i < SWI_ARRAY_LEN(rows); i++)
		if (rows[i].code == code)
			return &rows[i];
	return NULL;
}

const char *swarm_strerror(int code)
{
	const struct row *r = find(code);

	return r ? r->text : "unknown error";
}

const char *swarm_errname(int code)
{
	const struct row *r = find(code);

	return r ? r->name : "UNKNOWN";
}

const char *swarm_strremedy(int code)
{
	const struct row *r = find(code);

	return r ? r->remedy : "";
}
