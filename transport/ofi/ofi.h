/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ofi.h - what the files of the libfabric backend share.
 *
 * FI_EP_MSG endpoints of one domain, one completion queue and one event queue for all of them, both
 * behind one epoll descriptor. Remote keys are random 64-bit numbers of our own choice where the
 * provider lets us choose (tcp does), so they can neither be guessed nor outlive this process.
 * One thread owns all of it.
 */
#ifndef SWI_OFI_H
#define SWI_OFI_H

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include "transport/ops.h"

/*
 * A stream transport holds back by itself what finds no receive posted, so fewer than
 * SWI_BE_RECV_DEPTH do, and a thousand peers do not cost half a gigabyte.
 */
#define OFI_RECVS          16u
#define OFI_READS_MAX      128u /* READs of one endpoint that the provider holds; the rest waits */
#define OFI_READ_BYTES_MAX MIB(4) /* and their bytes */
/*
 * The tcp provider sends answers to READs before messages. A reader that never pauses would starve
 * the messages of its peer, pings included; so after so many READs or bytes it waits until all are
 * answered.
 */
#define OFI_ROUND_READS 4096u
#define OFI_ROUND_BYTES MIB(16)
#define OFI_MAX_READ    MIB(64)

enum ofi_kind { OFI_RECV, OFI_SEND, OFI_READ };

struct ofi_op { /* the context of everything given to the provider */
	enum ofi_kind kind;
	struct swi_be_ep *ep;
};

struct ofi_recv {
	struct ofi_op op;
	uint8_t buf[SWI_BE_MSG_MAX];
};

struct ofi_send { /* pooled in the backend */
	struct ofi_op op;
	struct ofi_send *next;
	uint8_t buf[SWI_BE_MSG_MAX];
};

struct ofi_read { /* pooled in the backend */
	struct ofi_op op;
	struct swi_list link; /* swi_be_ep.reading */
	struct swi_be_read *rd;
	struct ofi_read *next;
};

struct swi_be_ep {
	struct swi_be *be;
	struct swi_list link; /* swi_be.eps, or .doomed, or .closing */
	struct fid_ep *fid;   /* NULL once closed */
	void *owner;
	struct ofi_recv *recvs;
	bool inbound;
	bool up;      /* connected() or accepted() was called */
	bool down;    /* down() was called, or is not wanted any more */
	bool ended;   /* the provider has let go of everything */
	bool cut;     /* its socket was shut down by us */
	bool closing; /* ep_close() */
	int doom;     /* status of an outbound endpoint that failed at once */
	uint32_t sends;
	struct swi_list reading; /* ofi_read.link: with the provider */
	struct swi_list waiting; /* swi_be_read.link: not yet */
	uint32_t reads;
	uint64_t read_bytes;
	uint32_t round_reads; /* since there was last none in flight */
	uint64_t round_bytes;
};

struct swi_be {
	struct swi_be_open_args args;
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_eq *eq;
	struct fid_cq *cq;
	struct fid_pep *pep;
	int epfd;
	char address[64], device[64];
	size_t inject_max;
	struct swi_list eps, doomed, closing;
	struct ofi_send *free_sends;
	struct ofi_read *free_reads;
	uint32_t idle; /* calls of progress() that found nothing */
	bool look_eq;  /* the event queue must be read now */
	bool work;     /* doomed or closing changed */
	bool ending;   /* close(): no callback any more, and nobody is let in */
};

/* ofi_err.c: one table from the provider's errors to ours. */
int swi_ofi_err(int64_t fi_errno_value);
/* The same for an endpoint that never came up: the errno says more than "lost". */
int swi_ofi_connect_err(int fi_errno_value);

/* ofi_addr.c */
/* Splits "HOST:PORT" or "[HOST]:PORT". -EINVAL. */
int swi_ofi_split(const char *addr, char *host, size_t host_len, char *port, size_t port_len);
/* *out_sa is malloc()ed. -EINVAL. */
int swi_ofi_resolve(const char *addr, void **out_sa, size_t *out_len);
/* The address that @pep listens on, as peers reach it. */
int swi_ofi_pep_address(struct fid_pep *pep, char *buf, size_t len);
/* Shuts down the socket of @ep. False: not found, or dead already. */
bool swi_ofi_cut_socket(struct fid_ep *ep);

/* ofi_conn.c */
int swi_ofi_connect(struct swi_be *be, const char *addr, void *owner, struct swi_be_ep **out_ep);
void swi_ofi_ep_close(struct swi_be_ep *ep);
int swi_ofi_read_eq(struct swi_be *be);
/* Moves doomed and closing endpoints on. @drained: the completion queue was just found empty. */
int swi_ofi_reap(struct swi_be *be, bool drained);
void swi_ofi_ep_up(struct swi_be_ep *ep);
void swi_ofi_ep_down(struct swi_be_ep *ep, int status);
void swi_ofi_ep_free(struct swi_be_ep *ep);

/* ofi_msg.c */
int swi_ofi_post_recvs(struct swi_be_ep *ep);
int swi_ofi_send(struct swi_be_ep *ep, const void *a, uint32_t alen, const void *b, uint32_t blen);
void swi_ofi_on_recv(struct ofi_recv *r, uint32_t len);
void swi_ofi_on_send(struct ofi_send *s);

/* ofi_rma.c */
int swi_ofi_mr_reg(struct swi_be *be, const struct swi_be_mem *mem, struct swi_be_mr *out_mr);
void swi_ofi_mr_dereg(struct swi_be *be, struct swi_be_mr *mr);
int swi_ofi_read(struct swi_be_ep *ep, struct swi_be_read *rd);
void swi_ofi_on_read(struct ofi_read *r, int status);
/* Ends the READs that the provider does not hold; with @all also those that it held. */
int swi_ofi_flush_reads(struct swi_be_ep *ep, bool all);

/* ofi_progress.c */
int swi_ofi_progress(struct swi_be *be, unsigned int budget);
bool swi_ofi_arm(struct swi_be *be);

#endif
