/* SPDX-License-Identifier: Apache-2.0 */
/* addr.c - see addr.h. Numbers first, so that what peers tell each other asks no name server. */
#include "transport/base/addr.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

int swi_addr_parse(const char *addr, bool passive, struct sockaddr_storage *out_sa)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *ai;
	const char *colon = addr ? strrchr(addr, ':') : NULL;
	char host[256], *name = host;
	size_t len;
	int err;

	if (!colon || colon == addr || !colon[1] || (size_t)(colon - addr) >= sizeof(host) ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
	    strtoul(colon + 1, NULL, 10) > UINT16_MAX)
		return -EINVAL;
	len = (size_t)(colon - addr);
	memcpy(host, addr, len);
	host[len] = '\0';
	if (host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		name++;
	}
	hints.ai_flags |= AI_NUMERICSERV | (passive ? AI_PASSIVE : 0);
	err = getaddrinfo(name, colon + 1, &hints, &ai);
	if (err == EAI_NONAME) {
		hints.ai_flags &= ~AI_NUMERICHOST;
		err = getaddrinfo(name, colon + 1, &hints, &ai);
	}
	if (err)
		return -EINVAL;
	memset(out_sa, 0, sizeof(*out_sa));
	memcpy(out_sa, ai->ai_addr, ai->ai_addrlen);
	freeaddrinfo(ai);
	return 0;
}

uint16_t swi_addr_port(const struct sockaddr_storage *sa)
{
	if (sa->ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)sa)->sin_port);
	return ntohs(((const struct sockaddr_in6 *)sa)->sin6_port);
}

void swi_addr_set_port(struct sockaddr_storage *sa, uint16_t port)
{
	if (sa->ss_family == AF_INET)
		((struct sockaddr_in *)sa)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)sa)->sin6_port = htons(port);
}

socklen_t swi_addr_len(const struct sockaddr_storage *sa)
{
	return sa->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

void swi_addr_print(const struct sockaddr_storage *sa, char *buf, size_t len)
{
	char host[INET6_ADDRSTRLEN] = "";

	if (sa->ss_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, host, sizeof(host));
	else
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)sa)->sin6_addr, host,
			  sizeof(host));
	snprintf(buf, len, sa->ss_family == AF_INET ? "%s:%u" : "[%s]:%u", host, swi_addr_port(sa));
}

bool swi_addr_is_any(const struct sockaddr_storage *sa)
{
	if (sa->ss_family == AF_INET)
		return ((const struct sockaddr_in *)sa)->sin_addr.s_addr == htonl(INADDR_ANY);
	return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}
