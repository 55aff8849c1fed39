/* SPDX-License-Identifier: Apache-2.0 */
/* ofi_init.c - opening and closing the provider, and the table of this backend. See ofi.h. */
#include <sys/epoll.h>
#include <unistd.h>

#include "transport/ofi/ofi.h"

#define CQ_SIZE 4096u
#define EQ_SIZE 256u

static struct fi_info *make_hints(const char *provider)
{
	struct fi_info *h = fi_allocinfo();

	if (!h)
		return NULL;
	h->ep_attr->type = FI_EP_MSG;
	h->caps = FI_MSG | FI_RMA;
	h->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
	h->fabric_attr->prov_name = strdup(provider);
	if (!h->fabric_attr->prov_name) {
		fi_freeinfo(h);
		return NULL;
	}
	return h;
}

static int get_info(struct swi_be *be, char *why, size_t why_len)
{
	const char *provider = be->args.device ? be->args.device : "tcp";
	struct fi_info *hints = make_hints(provider);
	char host[256], port[8];
	int rc;

	if (!hints)
		return -ENOMEM;
	if (be->args.bind) {
		rc = swi_ofi_split(be->args.bind, host, sizeof(host), port, sizeof(port));
		if (rc) {
			snprintf(why, why_len, "'%s' is not an address HOST:PORT", be->args.bind);
			fi_freeinfo(hints);
			return rc;
		}
	}
	rc = fi_getinfo(FI_VERSION(1, 17), be->args.bind ? host : NULL, be->args.bind ? port : NULL,
			be->args.bind ? FI_SOURCE : 0, hints, &be->info);
	fi_freeinfo(hints);
	if (!rc)
		return 0;
	if (be->args.bind && rc == -FI_ENODATA)
		snprintf(why, why_len,
			 "no interface of this host has the address '%s', or libfabric has no "
			 "provider '%s'",
			 be->args.bind, provider);
	else
		snprintf(why, why_len,
			 "libfabric finds no provider '%s' with endpoints FI_EP_MSG: %s", provider,
			 fi_strerror(-rc));
	return be->args.bind && rc == -FI_ENODATA ? -EINVAL : SWARM_ENOTRANSPORT;
}

static int add_wait(struct swi_be *be, struct fid *fid)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int fd;
	const int rc = fi_control(fid, FI_GETWAIT, &fd);

	if (rc)
		return rc;
	return epoll_ctl(be->epfd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int open_queues(struct swi_be *be)
{
	struct fi_eq_attr eq = {.size = EQ_SIZE, .wait_obj = FI_WAIT_FD};
	struct fi_cq_attr cq = {
	    .size = CQ_SIZE, .format = FI_CQ_FORMAT_MSG, .wait_obj = FI_WAIT_FD};
	int rc = fi_fabric(be->info->fabric_attr, &be->fabric, NULL);

	if (!rc)
		rc = fi_domain(be->fabric, be->info, &be->domain, NULL);
	if (!rc)
		rc = fi_eq_open(be->fabric, &eq, &be->eq, NULL);
	if (!rc)
		rc = fi_cq_open(be->domain, &cq, &be->cq, NULL);
	if (rc)
		return rc;
	be->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (be->epfd < 0)
		return -errno;
	rc = add_wait(be, &be->eq->fid);
	return rc ? rc : add_wait(be, &be->cq->fid);
}

static int listen_on(struct swi_be *be)
{
	int rc = fi_passive_ep(be->fabric, be->info, &be->pep, NULL);

	if (!rc)
		rc = fi_pep_bind(be->pep, &be->eq->fid, 0);
	if (!rc)
		rc = fi_listen(be->pep);
	if (rc)
		return swi_ofi_err(rc);
	return swi_ofi_pep_address(be->pep, be->address, sizeof(be->address));
}

static void no_ep(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED)
{
}

static void no_recv(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED,
		    const void *buf SWI_UNUSED, uint32_t len SWI_UNUSED)
{
}

static void no_read_done(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED,
			 struct swi_be_read *rd SWI_UNUSED, int status SWI_UNUSED)
{
}

static void no_down(void *ctx SWI_UNUSED, struct swi_be_ep *ep SWI_UNUSED, int status SWI_UNUSED)
{
}

static const struct swi_be_events no_events = {
    .accepted = no_ep,
    .connected = no_ep,
    .recv = no_recv,
    .read_done = no_read_done,
    .down = no_down,
    .closed = no_ep,
};

/*
 * Ends every endpoint by the way that a single one takes (ofi_conn.c says why there is only one),
 * without callbacks. A handful of rounds does it; the bound is for a provider that does not do its
 * part.
 */
static void end_all(struct swi_be *be)
{
	struct swi_list *const lists[] = {&be->eps, &be->doomed, &be->closing};

	be->args.events = &no_events;
	be->ending = true;
	for (size_t i = 0; i < 2; i++)
		swi_list_for_each_safe (it, lists[i])
			swi_ofi_ep_close(swi_list_entry(it, struct swi_be_ep, link));
	/* Once at least: who knocks is turned away, or the library never frees what it keeps of him. */
	for (int i = 0; i < 10000 && (!i || !swi_list_empty(&be->closing)); i++) {
		be->look_eq = true;
		if (swi_ofi_progress(be, UINT32_MAX) < 0)
			break;
	}
	for (size_t i = 0; i < SWI_ARRAY_LEN(lists); i++)
		swi_list_for_each_safe (it, lists[i])
			swi_ofi_ep_free(swi_list_entry(it, struct swi_be_ep, link));
}

static void ofi_close(struct swi_be *be)
{
	if (!be)
		return;
	if (be->cq && be->eq)
		end_all(be);
	if (be->pep)
		fi_close(&be->pep->fid);
	if (be->cq)
		fi_close(&be->cq->fid);
	if (be->eq)
		fi_close(&be->eq->fid);
	if (be->domain)
		fi_close(&be->domain->fid);
	if (be->fabric)
		fi_close(&be->fabric->fid);
	if (be->epfd >= 0)
		close(be->epfd);
	fi_freeinfo(be->info);
	for (struct ofi_send *s = be->free_sends, *next; s; s = next) {
		next = s->next;
		free(s);
	}
	for (struct ofi_read *r = be->free_reads, *next; r; r = next) {
		next = r->next;
		free(r);
	}
	free(be);
}

static int ofi_open(const struct swi_be_open_args *args, struct swi_be **out_be, char *why,
		    size_t why_len)
{
	struct swi_be *be = calloc(1, sizeof(*be));
	int rc;

	if (!be)
		return -ENOMEM;
	be->args = *args;
	be->epfd = -1;
	swi_list_init(&be->eps);
	swi_list_init(&be->doomed);
	swi_list_init(&be->closing);
	rc = get_info(be, why, why_len);
	if (rc)
		goto fail;
	rc = open_queues(be);
	if (rc) {
		snprintf(why, why_len, "libfabric provider '%s' cannot be opened: %s",
			 be->info->fabric_attr->prov_name, fi_strerror(-rc));
		rc = SWARM_ENOTRANSPORT;
		goto fail;
	}
	if (args->bind)
		rc = listen_on(be);
	if (rc) {
		const char *remedy = swarm_strremedy(rc);

		snprintf(why, why_len, "cannot listen on %s: %s%s%s", args->bind, swarm_strerror(rc),
			 remedy[0] ? "; " : "", remedy);
		goto fail;
	}
	snprintf(be->device, sizeof(be->device), "%s", be->info->fabric_attr->prov_name);
	be->inject_max = be->info->tx_attr->inject_size;
	*out_be = be;
	return 0;
fail:
	ofi_close(be);
	return rc;
}

static const char *ofi_address(struct swi_be *be)
{
	return be->address;
}

static const char *ofi_device(struct swi_be *be)
{
	return be->device;
}

static uint64_t ofi_max_read(struct swi_be *be)
{
	return swi_min_u64(be->info->ep_attr->max_msg_size, OFI_MAX_READ);
}

static uint64_t ofi_max_mr(struct swi_be *be SWI_UNUSED)
{
	return GIB(1024);
}

static void ofi_set_owner(struct swi_be_ep *ep, void *owner)
{
	ep->owner = owner;
}

static void *ofi_owner(struct swi_be_ep *ep)
{
	return ep->owner;
}

/* Nothing to open: the provider checks keys only, and ours are random. */
static int ofi_grant(struct swi_be_ep *ep)
{
	return ep->down ? SWARM_EPEERLOST : 0;
}

/* A socket that is cut sends no more answers, and what is in it was copied out of the memory before. */
static void ofi_revoke(struct swi_be_ep *ep)
{
	if (ep->fid && !ep->ended && !ep->cut)
		ep->cut = swi_ofi_cut_socket(ep->fid);
}

static int ofi_fd(struct swi_be *be)
{
	return be->epfd;
}

extern const struct swi_be_ops swi_ofi_ops;
const struct swi_be_ops swi_ofi_ops = {
    .size = sizeof(struct swi_be_ops),
    .name = "ofi",
    .open = ofi_open,
    .close = ofi_close,
    .address = ofi_address,
    .device = ofi_device,
    .max_read = ofi_max_read,
    .max_mr = ofi_max_mr,
    .mr_reg = swi_ofi_mr_reg,
    .mr_dereg = swi_ofi_mr_dereg,
    .connect = swi_ofi_connect,
    .set_owner = ofi_set_owner,
    .owner = ofi_owner,
    .grant = ofi_grant,
    .revoke = ofi_revoke,
    .send = swi_ofi_send,
    .read = swi_ofi_read,
    .ep_close = swi_ofi_ep_close,
    .progress = swi_ofi_progress,
    .fd = ofi_fd,
    .arm = swi_ofi_arm,
};
