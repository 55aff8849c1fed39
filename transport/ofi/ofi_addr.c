/* SPDX-License-Identifier: Apache-2.0 */
/* ofi_addr.c - addresses and sockets: text to sockaddr and back, and the socket of an endpoint. */
#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "transport/ofi/ofi.h"

int swi_ofi_split(const char *addr, char *host, size_t host_len, char *port, size_t port_len)
{
	const char *colon = strrchr(addr, ':');
	const char *from = addr;

	if (!colon || colon == addr || !colon[1])
		return -EINVAL;
	size_t n = (size_t)(colon - addr);

	if (addr[0] == '[') {
		if (n < 3 || colon[-1] != ']')
			return -EINVAL;
		from++;
		n -= 2;
	}
	if (n >= host_len || strlen(colon + 1) >= port_len ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return -EINVAL;
	memcpy(host, from, n);
	host[n] = 0;
	snprintf(port, port_len, "%s", colon + 1);
	return 0;
}

int swi_ofi_resolve(const char *addr, void **out_sa, size_t *out_len)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *ai = NULL;
	char host[256], port[8];
	const int rc = swi_ofi_split(addr, host, sizeof(host), port, sizeof(port));

	if (rc)
		return rc;
	if (getaddrinfo(host, port, &hints, &ai))
		return -EINVAL;
	void *sa = malloc(ai->ai_addrlen);

	if (sa) {
		memcpy(sa, ai->ai_addr, ai->ai_addrlen);
		*out_sa = sa;
		*out_len = ai->ai_addrlen;
	}
	freeaddrinfo(ai);
	return sa ? 0 : -ENOMEM;
}

/* "Any" is no address to tell others: the first interface that is up and not the loopback, if there
 * is one. */
static void replace_any(struct sockaddr_in *in)
{
	struct ifaddrs *list;

	if (in->sin_family != AF_INET || in->sin_addr.s_addr != htonl(INADDR_ANY))
		return;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (getifaddrs(&list))
		return;
	for (struct ifaddrs *i = list; i; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !(i->ifa_flags & IFF_UP) ||
		    i->ifa_flags & IFF_LOOPBACK)
			continue;
		struct sockaddr_in found;

		memcpy(&found, i->ifa_addr, sizeof(found));
		in->sin_addr = found.sin_addr;
		break;
	}
	freeifaddrs(list);
}

int swi_ofi_pep_address(struct fid_pep *pep, char *buf, size_t len)
{
	union {
		struct sockaddr_storage ss;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} a;
	size_t n = sizeof(a);
	char host[INET6_ADDRSTRLEN];

	memset(&a, 0, sizeof(a));
	const int rc = fi_getname(&pep->fid, &a, &n);

	if (rc)
		return swi_ofi_err(rc);
	replace_any(&a.in);
	if (a.ss.ss_family == AF_INET) {
		inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof(host));
		snprintf(buf, len, "%s:%u", host, ntohs(a.in.sin_port));
	} else {
		inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof(host));
		snprintf(buf, len, "[%s]:%u", host, ntohs(a.in6.sin6_port));
	}
	return 0;
}

static bool is_socket_of(int fd, const struct sockaddr_storage *us, size_t us_len,
			 const struct sockaddr_storage *them, size_t them_len)
{
	struct sockaddr_storage a, b;
	socklen_t an = sizeof(a), bn = sizeof(b);
	int type = 0;
	socklen_t tn = sizeof(type);

	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &tn) || type != SOCK_STREAM)
		return false;
	if (getsockname(fd, (struct sockaddr *)&a, &an) ||
	    getpeername(fd, (struct sockaddr *)&b, &bn))
		return false;
	return an == us_len && bn == them_len && !memcmp(&a, us, an) && !memcmp(&b, them, bn);
}

/*
 * The provider does not tell its descriptors, so it is found by its pair of addresses, which names
 * one TCP socket of this host. Rare: only when an endpoint is closed with READs in flight.
 */
bool swi_ofi_cut_socket(struct fid_ep *ep)
{
	struct sockaddr_storage us, them;
	size_t us_len = sizeof(us), them_len = sizeof(them);
	bool found = false;

	memset(&us, 0, sizeof(us));
	memset(&them, 0, sizeof(them));
	if (fi_getname(&ep->fid, &us, &us_len) || fi_getpeer(ep, &them, &them_len))
		return false;
	DIR *d = opendir("/proc/self/fd");

	if (!d)
		return false;
	for (struct dirent *e; !found && (e = readdir(d));) {
		const int fd = (int)strtol(e->d_name, NULL, 10);

		if (fd > 2 && is_socket_of(fd, &us, us_len, &them, them_len))
			found = !shutdown(fd, SHUT_RDWR);
	}
	closedir(d);
	return found;
}
