/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swarm/error.h - the one error currency: int, 0 = done, > 0 = queued, < 0 = an error.
 *
 * Plain errno values are used where they fit (-ENOMEM, -EINVAL, -ETIMEDOUT, -ENOENT, -EEXIST ...);
 * the codes below name facts of this domain. They are grouped by what is lost with the error: the
 * operation, the object, the task, the connection or the node. Values never change once released.
 */
#ifndef SWARM_ERROR_H
#define SWARM_ERROR_H

#include <swarm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum swarm_error {
	SWARM_OK = 0,
	SWARM_QUEUED = 1, /* accepted; exactly one completion follows */

	/* the operation is lost; everything else is as before */
	SWARM_EFULL = -4100,	   /* the arena is full of objects that cannot leave it */
	SWARM_EMEMLOCK = -4101,	   /* RLIMIT_MEMLOCK is too small for the arena */
	SWARM_ENODAEMON = -4102,   /* no daemon answers at that run directory */
	SWARM_EVERSION = -4103,	   /* the other side speaks another version */
	SWARM_ENOTRANSPORT = -4104, /* the asked transport is not built in or has no device */
	SWARM_EINDEXFULL = -4105,  /* the index has no free slot for this id */
	SWARM_ENOROOM = -4106,	   /* no node of the cluster can ever hold this request */
	SWARM_EPORTUSED = -4107,   /* the port to listen on is taken */
	SWARM_EDISKFULL = -4108,   /* the spill folders have no room left */
	SWARM_EQUOTA = -4109,	   /* this process has filled its quota of the arena */
	SWARM_EPINLIMIT = -4110,   /* more would be pinned hard than the node allows */
	SWARM_EFEWNODES = -4111,   /* the cluster has fewer nodes than copies were asked for */

	/* the object is lost or cannot be had */
	SWARM_ELOST = -4200,	  /* no copy is left and it could not be rebuilt */
	SWARM_ECORRUPT = -4201,	  /* the bytes do not match their digest */
	SWARM_ESTALE = -4202,	  /* the locator or epoch is of an earlier life of its node */
	SWARM_EHOMELOST = -4203,  /* the object's home died and nobody inherited its record */
	SWARM_EDELETED = -4204,	  /* the object was deleted */
	SWARM_ESEALED = -4205,	  /* the object is sealed already */

	/* the task is lost */
	SWARM_ETASK = -4300,	  /* the task's function reported an error */
	SWARM_ECRASH = -4301,	  /* the worker that ran the task died */
	SWARM_ECANCELED = -4302,  /* the task was cancelled */
	SWARM_ENOFUNC = -4303,	  /* the module has no function of that name */
	SWARM_EMODULE = -4304,	  /* the module cannot be loaded */
	SWARM_ETASKTIME = -4305,  /* the task ran longer than it may */
	SWARM_EDEPENDENCY = -4306, /* an argument of the task failed */

	/* the connection is lost */
	SWARM_EAUTH = -4400,	  /* the cluster key is missing or wrong */
	SWARM_EPEERLOST = -4401,  /* the connection to the peer ended */
	SWARM_EPROTO = -4402,	  /* the other side sent what makes no sense */
	SWARM_EREMOTEACCESS = -4403, /* the owner's card refused the access (rkey, bounds, rights) */
	SWARM_ESILENT = -4404,	  /* the peer said nothing for too long */

	/* the node is lost */
	SWARM_ENODELOST = -4500,  /* the node was declared dead */
	SWARM_EDRAINING = -4501,  /* the node is leaving the cluster */
};

/**
 * swarm_strerror - one sentence for an error code of this library or a negative errno.
 *
 * Lifetime: the text is static. Threads: any. Cost: a table look-up. Never NULL.
 */
SWARM_API const char *swarm_strerror(int code);

/**
 * swarm_errname - the symbolic name ("SWARM_ELOST", "ENOENT") of an error code.
 *
 * Lifetime: the text is static. Threads: any. Never NULL; "UNKNOWN" for a foreign value.
 */
SWARM_API const char *swarm_errname(int code);

/**
 * swarm_strremedy - what a person can do about an error code, or "" where there is no advice.
 *
 * Lifetime: the text is static. Threads: any. Never NULL.
 */
SWARM_API const char *swarm_strremedy(int code);

#ifdef __cplusplus
}
#endif
#endif
