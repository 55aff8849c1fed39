/* SPDX-License-Identifier: Apache-2.0 */
/*
 * addr.h - "HOST:PORT" to a socket address and back. May ask a name server, so never on a hot path.
 * No state; any thread.
 */
#ifndef SWI_ADDR_H
#define SWI_ADDR_H

#include <sys/socket.h>

#include "transport/base/base.h"

/* "HOST:PORT" or "[V6]:PORT"; @passive: to listen on. -EINVAL. */
int swi_addr_parse(const char *addr, bool passive, struct sockaddr_storage *out_sa);
/* The one spelling of @sa, in numbers. */
void swi_addr_print(const struct sockaddr_storage *sa, char *buf, size_t len);
bool swi_addr_is_any(const struct sockaddr_storage *sa);
uint16_t swi_addr_port(const struct sockaddr_storage *sa);
void swi_addr_set_port(struct sockaddr_storage *sa, uint16_t port);
socklen_t swi_addr_len(const struct sockaddr_storage *sa);

#endif
