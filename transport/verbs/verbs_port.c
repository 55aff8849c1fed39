/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs_port.c - ports by name ("rxe0:1"), which are up, and the address that each has.
 *
 * Which address belongs to which port only rdma_cm knows, for every kind of link alike: an id that is bound
 * to the address says it. Owner thread, at opening only.
 */
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include "transport/base/addr.h"
#include "transport/verbs/verbs.h"

int swi_verbs_port_parse(const char *spec, char *out_name, size_t len, uint8_t *out_port)
{
	const char *colon = strrchr(spec, ':');
	const size_t n = colon ? (size_t)(colon - spec) : strlen(spec);
	unsigned long port = 0;

	if (!n || n >= len)
		return -EINVAL;
	if (colon) {
		if (strspn(colon + 1, "0123456789") != strlen(colon + 1))
			return -EINVAL;
		port = strtoul(colon + 1, NULL, 10);
		if (!port || port > UINT8_MAX)
			return -EINVAL;
	}
	snprintf(out_name, len, "%.*s", (int)n, spec);
	*out_port = (uint8_t)port;
	return 0;
}

uint8_t swi_verbs_port_active(struct ibv_context *dev, uint8_t asked)
{
	struct ibv_device_attr attr;
	struct ibv_port_attr port;

	if (ibv_query_device(dev, &attr) != 0)
		return 0;
	for (uint8_t i = 1; i <= attr.phys_port_cnt; i++) {
		if ((!asked || i == asked) && ibv_query_port(dev, i, &port) == 0 &&
		    port.state == IBV_PORT_ACTIVE)
			return i;
	}
	return 0;
}

/* Is @sa an address of this port? */
static bool is_of(struct rdma_event_channel *ec, struct sockaddr *sa, const struct ibv_context *dev,
		  uint8_t port)
{
	struct rdma_cm_id *id;
	bool yes;

	if (rdma_create_id(ec, &id, NULL, RDMA_PS_TCP) != 0)
		return false;
	yes = rdma_bind_addr(id, sa) == 0 && id->verbs == dev && id->port_num == port;
	rdma_destroy_id(id);
	return yes;
}

static bool usable(const struct ifaddrs *i)
{
	if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || i->ifa_flags & IFF_LOOPBACK)
		return false;
	if (i->ifa_addr->sa_family == AF_INET)
		return true;
	return i->ifa_addr->sa_family == AF_INET6 &&
	       !IN6_IS_ADDR_LINKLOCAL(&((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr);
}

bool swi_verbs_port_addr(struct rdma_event_channel *ec, const struct ibv_context *dev, uint8_t port,
			 struct sockaddr_storage *out_sa)
{
	const sa_family_t families[] = {AF_INET, AF_INET6};
	struct ifaddrs *all;
	bool found = false;

	if (getifaddrs(&all) != 0)
		return false;
	for (size_t f = 0; f < SWI_ARRAY_LEN(families) && !found; f++)
		for (struct ifaddrs *i = all; i && !found; i = i->ifa_next) {
			if (!usable(i) || i->ifa_addr->sa_family != families[f] ||
			    !is_of(ec, i->ifa_addr, dev, port))
				continue;
			memset(out_sa, 0, sizeof(*out_sa));
			memcpy(out_sa, i->ifa_addr,
			       families[f] == AF_INET ? sizeof(struct sockaddr_in)
						      : sizeof(struct sockaddr_in6));
			swi_addr_set_port(out_sa, 0);
			found = true;
		}
	freeifaddrs(all);
	return found;
}

/* Whether the address to listen on is one of this port's. */
static bool is_bound(struct rdma_event_channel *ec, const struct sockaddr_storage *sa,
		     const struct ibv_context *dev, uint8_t port)
{
	struct sockaddr_storage copy = *sa;

	swi_addr_set_port(&copy, 0);
	return is_of(ec, (struct sockaddr *)&copy, dev, port);
}

uint32_t swi_verbs_ports(const char *bind, char out_names[][64], uint32_t max)
{
	struct rdma_event_channel *ec = rdma_create_event_channel();
	struct sockaddr_storage want, has;
	const bool wants = bind && !swi_addr_parse(bind, true, &want) && !swi_addr_is_any(&want);
	struct ibv_context **devs = ec ? rdma_get_devices(NULL) : NULL;
	uint32_t n = 0;

	for (uint32_t d = 0; devs && devs[d] && n < max; d++)
		for (uint32_t port = 1; port < UINT8_MAX && n < max; port++) {
			struct ibv_port_attr attr;
			char name[64];

			if (ibv_query_port(devs[d], (uint8_t)port, &attr) != 0)
				break;
			if (attr.state != IBV_PORT_ACTIVE ||
			    !swi_verbs_port_addr(ec, devs[d], (uint8_t)port, &has))
				continue;
			snprintf(name, sizeof(name), "%.58s:%u", ibv_get_device_name(devs[d]->device), port);
			snprintf(out_names[n], 64, "%s", name);
			if (n && wants && is_bound(ec, &want, devs[d], (uint8_t)port)) {
				memcpy(out_names[n], out_names[0], 64);
				snprintf(out_names[0], 64, "%s", name);
			}
			n++;
		}
	if (devs)
		rdma_free_devices(devs);
	if (ec)
		rdma_destroy_event_channel(ec);
	return n;
}
