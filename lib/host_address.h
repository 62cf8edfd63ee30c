/* SPDX-License-Identifier: ISC */
/* Addresses of hosts: 16 bytes each way, IPv4 as ::ffff:a.b.c.d. */
#ifndef LIB_HOST_ADDRESS_H
#define LIB_HOST_ADDRESS_H

#include "text.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

bool host_address_parse(struct text t, uint8_t *address);
/* Prints "192.0.2.1" or "2001:db8::1" to TO (46 bytes), which is returned. */
char *host_address_print(const uint8_t *address, char *to);
bool host_address_is_ipv4(const uint8_t *address);
bool host_address_is_loopback(const uint8_t *address); /* 127.0.0.0/8, ::1 */

/* Of a socket; NULL is none. False: it is of neither kind, and ADDRESS is all zeros. */
bool host_address_of(const struct sockaddr *from, uint8_t *address);
/* For a socket; returns its length. */
socklen_t host_address_put(const uint8_t *address, uint16_t port, struct sockaddr_storage *to);

#endif
