/* SPDX-License-Identifier: Apache-2.0 */
#include "self.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <string.h>

#include <ap_listen.h>
#include <apr_strings.h>

#define CANDIDATES_SHOWN 8 /* nodes that a message names */

typedef struct address_t {
    int family; /* 0: none */
    unsigned char bytes[16];
} address_t;

typedef struct search_t {
    const server_rec *server;
    address_t name; /* ServerName, when it is an address */
    int all_loopback;
    struct ifaddrs *interfaces;
} search_t;

/* One stage of the search.  @return nonzero when the member is this server */
typedef int matcher_t(const search_t *search, const svl_member_t *member, const address_t *address);

/* ::ffff:10.0.0.1 is 10.0.0.1: so a dual-stack listener shows it */
static void normalise(address_t *address)
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

    if (address->family == AF_INET6 && memcmp(address->bytes, mapped, sizeof(mapped)) == 0) {
        address->family = AF_INET;
        memmove(address->bytes, address->bytes + sizeof(mapped), 4);
        memset(address->bytes + 4, 0, 12);
    }
}

static address_t read_literal(const char *host)
{
    address_t address = {0};

    if (inet_pton(AF_INET, host, address.bytes) == 1) {
        address.family = AF_INET;
    }
    else if (inet_pton(AF_INET6, host, address.bytes) == 1) {
        address.family = AF_INET6;
    }
    normalise(&address);
    return address;
}

static address_t read_sockaddr(const struct sockaddr *from)
{
    address_t address = {0};

    if (from && from->sa_family == AF_INET) {
        address.family = AF_INET;
        memcpy(address.bytes, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    }
    else if (from && from->sa_family == AF_INET6) {
        address.family = AF_INET6;
        memcpy(address.bytes, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
    }
    normalise(&address);
    return address;
}

static int equals(const address_t *one, const address_t *other)
{
    return one->family && one->family == other->family && memcmp(one->bytes, other->bytes, sizeof(one->bytes)) == 0;
}

static int is_wildcard(const address_t *address)
{
    static const unsigned char zero[16];

    return memcmp(address->bytes, zero, sizeof(zero)) == 0;
}

static int is_loopback(const address_t *address)
{
    static const unsigned char one[16] = {[15] = 1};

    return (address->family == AF_INET && address->bytes[0] == 127)
           || (address->family == AF_INET6 && memcmp(address->bytes, one, sizeof(one)) == 0);
}

static int is_local(const search_t *search, const address_t *address)
{
    if (is_loopback(address)) { /* all of 127.0.0.0/8, of which interfaces list one */
        return 1;
    }
    for (const struct ifaddrs *i = search->interfaces; i; i = i->ifa_next) {
        address_t own = read_sockaddr(i->ifa_addr);

        if (equals(&own, address)) {
            return 1;
        }
    }
    return 0;
}

static int is_listened(const search_t *search, const address_t *address, apr_port_t port)
{
    for (const ap_listen_rec *listener = ap_listeners; listener; listener = listener->next) {
        address_t bound = read_sockaddr((const struct sockaddr *)&listener->bind_addr->sa);

        if (listener->bind_addr->port != port) {
            continue;
        }
        if (!address || equals(&bound, address)) {
            return 1;
        }
        /* a wildcard of IPv6 takes IPv4 too; one of IPv4 does not take IPv6 */
        if (is_wildcard(&bound) && (bound.family == AF_INET6 || address->family == AF_INET) && is_local(search, address)) {
            return 1;
        }
    }
    return 0;
}

/* @return nonzero when the virtual host takes connections to the port and the address; without one: to any, or to all */
static int takes(const server_rec *host, const address_t *address, apr_port_t port, int to_all)
{
    for (const server_addr_rec *a = host->addrs; a; a = a->next) {
        address_t bound = read_sockaddr((const struct sockaddr *)&a->host_addr->sa);

        if ((a->host_port == 0 || a->host_port == port)
            && (is_wildcard(&bound) || (address ? equals(&bound, address) : !to_all))) {
            return 1;
        }
    }
    return 0;
}

/* The main server has what no virtual host takes. */
static int is_addressed(const search_t *search, const address_t *address, apr_port_t port)
{
    if (search->server->is_virtual) {
        return takes(search->server, address, port, 0);
    }
    for (const server_rec *host = search->server->next; host; host = host->next) {
        if (takes(host, address, port, 1)) {
            return 0;
        }
    }
    return 1;
}

static int serves(const search_t *search, const address_t *address, apr_port_t port)
{
    return is_addressed(search, address, port) && is_listened(search, address, port);
}

static int has_server_name(const search_t *search, const svl_member_t *member, const address_t *address)
{
    const char *name = search->server->server_hostname;
    apr_size_t length = name ? strlen(name) : 0;

    if (address->family && search->name.family) {
        return equals(address, &search->name);
    }
    length -= length && name[length - 1] == '.';
    return length && strlen(member->host) == length && strncasecmp(member->host, name, length) == 0;
}

static int match_name_and_port(const search_t *search, const svl_member_t *member, const address_t *address)
{
    apr_port_t port = search->server->port; /* 0: ServerName has none, so the ports are those that it listens on */

    return has_server_name(search, member, address) && (port ? member->port == port : serves(search, NULL, member->port));
}

/* Behind a port mapping the server listens on a port that no URL has. */
static int match_name_and_usual_port(const search_t *search, const svl_member_t *member, const address_t *address)
{
    return has_server_name(search, member, address) && !search->server->port && member->port == (member->tls ? 443 : 80);
}

static int match_address(const search_t *search, const svl_member_t *member, const address_t *address)
{
    return address->family && serves(search, address, member->port);
}

static const char *describe(const svl_node_t *node, const apr_array_header_t *indexes, apr_pool_t *p)
{
    const char *text = "";

    for (int i = 0; i < indexes->nelts && i < CANDIDATES_SHOWN; i++) {
        const svl_member_t *member = &node->members[APR_ARRAY_IDX(indexes, i, apr_uint32_t)];

        text = apr_pstrcat(p, text, i ? ", " : "", member->name, " (", member->base, ")", NULL);
    }
    return indexes->nelts > CANDIDATES_SHOWN ? apr_pstrcat(p, text, ", ...", NULL) : text;
}

static const char *describe_server(const search_t *search, apr_pool_t *p)
{
    const char *name = search->server->server_hostname ? search->server->server_hostname : "is not set";
    const char *text = search->server->port ? apr_psprintf(p, "ServerName %s:%d", name, (int)search->server->port)
                                            : apr_pstrcat(p, "ServerName ", name, NULL);
    const char *last = "";

    for (const ap_listen_rec *listener = ap_listeners; listener; listener = listener->next) {
        char address[INET6_ADDRSTRLEN + 1] = "*";
        const char *listen;

        if (listener->bind_addr->hostname) {
            apr_sockaddr_ip_getbuf(address, sizeof(address), listener->bind_addr);
        }
        listen = apr_psprintf(p, strchr(address, ':') ? ", Listen [%s]:%d" : ", Listen %s:%d", address,
                              (int)listener->bind_addr->port);
        /* where a dual-stack socket is not to be had, one line makes two listeners */
        text = strcmp(last, listen) ? apr_pstrcat(p, text, listen, NULL) : text;
        last = listen;
    }
    return text;
}

/* @return indexes of the members that the first stage which finds one finds */
static apr_array_header_t *search_all(const search_t *search, const svl_node_t *node, apr_pool_t *p)
{
    static matcher_t *const stages[] = {match_name_and_port, match_name_and_usual_port, match_address};
    apr_array_header_t *found = apr_array_make(p, 2, sizeof(apr_uint32_t));

    for (apr_size_t stage = 0; stage < sizeof(stages) / sizeof(*stages) && found->nelts == 0; stage++) {
        for (apr_uint32_t i = 0; i < node->count; i++) {
            address_t address = read_literal(node->members[i].host);

            /* 127.0.0.1 is every server: it tells nodes apart only by their ports, where all of them run on one machine */
            if ((search->all_loopback || !is_loopback(&address)) && stages[stage](search, &node->members[i], &address)) {
                APR_ARRAY_PUSH(found, apr_uint32_t) = i;
            }
        }
    }
    return found;
}

static int all_loopback(const svl_node_t *node)
{
    for (apr_uint32_t i = 0; i < node->count; i++) {
        address_t address = read_literal(node->members[i].host);

        if (!is_loopback(&address) && strcasecmp(node->members[i].host, "localhost")) {
            return 0;
        }
    }
    return 1;
}

static const char *find_automatically(svl_node_t *node, const svl_setting_t *self, const server_rec *s, apr_pool_t *p)
{
    search_t search = {.server = s, .all_loopback = all_loopback(node)};
    apr_array_header_t *found;
    const char *right;

    search.name = read_literal(s->server_hostname ? s->server_hostname : "");
    if (getifaddrs(&search.interfaces) != 0) {
        search.interfaces = NULL;
    }
    found = search_all(&search, node, p);
    if (search.interfaces) {
        freeifaddrs(search.interfaces);
    }
    if (found->nelts == 1) {
        node->self = APR_ARRAY_IDX(found, 0, apr_uint32_t);
        return NULL;
    }
    if (found->nelts) {
        right = apr_pstrcat(p, "several nodes could be this server (", describe_server(&search, p),
                            "): ", describe(node, found, p), "; name one of them with ServicelessSelf", NULL);
    }
    else {
        for (apr_uint32_t i = 0; i < node->count; i++) {
            APR_ARRAY_PUSH(found, apr_uint32_t) = i;
        }
        right =
            apr_pstrcat(p, "none of the nodes is this server (", describe_server(&search, p), "): ", describe(node, found, p),
                        "; list it in ServicelessNodes, or name one of them with ServicelessSelf", NULL);
    }
    return svl_directive_fault(SVL_DIRECTIVE_SELF, SVL_SELF_AUTO, self->where, right, p);
}

const char *svl_self_find(svl_node_t *node, const svl_setting_t *self, const server_rec *s, apr_pool_t *p)
{
    const svl_member_t *member;
    const char *fault = NULL;

    if (strcasecmp(self->text, SVL_SELF_AUTO) == 0) {
        fault = find_automatically(node, self, s, p);
    }
    else {
        member = apr_hash_get(node->names, self->text, APR_HASH_KEY_STRING);
        if (!member) {
            return svl_directive_fault(SVL_DIRECTIVE_SELF, self->text, self->where,
                                       "there is no node with this name in ServicelessNodes; name one of them, or auto", p);
        }
        node->self = (apr_uint32_t)(member - node->members);
    }
    node->name = fault ? NULL : node->members[node->self].name;
    return fault;
}
