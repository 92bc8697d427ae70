/* SPDX-License-Identifier: Apache-2.0 */
#include "fleet.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_uri.h>

#include "../core/name.h"

#define HOST_MAX 253 /* of DNS */

int svl_fleet_is_path(const char *path)
{
    for (const char *c = path; *c; c++) {
        if (!apr_isalnum(*c) && !ap_strchr_c("-._~!$&'()*+,;=:@/", *c)) {
            return 0;
        }
        if (c[0] == '/' && c[1] == '.') {
            const char *rest = c + (c[2] == '.' ? 3 : 2);

            if (*rest == '/' || *rest == '\0') {
                return 0;
            }
        }
    }
    return 1;
}

static int is_host(const char *host, int bracketed)
{
    unsigned char address[sizeof(struct in6_addr)];
    const char *label = strrchr(host, '.');

    if (bracketed) {
        return inet_pton(AF_INET6, host, address) == 1;
    }
    if (!apr_isalnum(*host) || strlen(host) > HOST_MAX) {
        return 0;
    }
    for (const char *c = host; *c; c++) {
        if (!apr_isalnum(*c) && !ap_strchr_c("-._", *c)) {
            return 0;
        }
    }
    /* What ends like an address is one: 10.1 or 1.2.3.4.5 would mean another thing to each resolver. */
    label = label ? label + 1 : host;
    return strspn(label, "0123456789") < strlen(label) || *label == '\0' || inet_pton(AF_INET, host, address) == 1;
}

static const char *parse_port(svl_member_t *member, const char *text)
{
    if (!text) {
        member->port = member->tls ? 443 : 80;
        return NULL;
    }
    /* apr_uri_parse would take 65616 for 80 */
    if (*text == '\0' || strlen(text) > 5 || strspn(text, "0123456789") < strlen(text) || atoi(text) < 1
        || atoi(text) > 65535) {
        return "the port of the URL must be a number from 1 to 65535";
    }
    member->port = (apr_port_t)atoi(text);
    return NULL;
}

static const char *parse_url(svl_member_t *member, const char *url, apr_pool_t *p)
{
    const char *authority;
    apr_size_t length = strlen(url);
    apr_uri_t uri;

    member->tls = strncasecmp(url, "https://", 8) == 0;
    if (!member->tls && strncasecmp(url, "http://", 7) != 0) {
        return "a node is [name=]url, and a URL begins with http:// or https://";
    }
    if (length > SVL_FLEET_URL_MAX) {
        return "a URL has at most " APR_STRINGIFY(SVL_FLEET_URL_MAX) " characters";
    }
    if (strpbrk(url, "?#@\\")) {
        return "a URL holds no query, no fragment and no user name: nodes sign their requests instead";
    }
    if (apr_uri_parse(p, url, &uri) != APR_SUCCESS) {
        return "a node is [name=]url with a URL such as https://a.example.com:8443";
    }
    authority = ap_strstr_c(url, "://") + 3;
    if (!uri.hostname || !is_host(uri.hostname, *authority == '[')) {
        return "the host of the URL must be a host name, an IPv4 address, or an IPv6 address in brackets";
    }
    if (uri.path && !svl_fleet_is_path(uri.path)) {
        return "the path of the URL must hold letters, digits and -._~!$&'()*+,;=:@ only";
    }
    while (length && url[length - 1] == '/') {
        length--;
    }
    member->base = apr_pstrmemdup(p, url, length);
    member->host = uri.hostname;
    return parse_port(member, uri.port_str);
}

const char *svl_fleet_parse_member(svl_member_t *member, const char *word, apr_pool_t *p)
{
    const char *equals = ap_strchr_c(word, '=');
    const char *slash = ap_strchr_c(word, '/');
    const char *right;

    memset(member, 0, sizeof(*member));
    if (!equals || (slash && slash < equals)) { /* the = is one of the path */
        right = parse_url(member, word, p);
        if (right) {
            return right;
        }
        member->name = apr_psprintf(p, ap_strchr_c(member->host, ':') ? "[%s]:%d" : "%s:%d", member->host, (int)member->port);
        return svl_name_is_node(member->name, strlen(member->name))
                   ? NULL
                   : "its host and port make a name longer than 64 characters; write name=url";
    }
    member->name = apr_pstrmemdup(p, word, (apr_size_t)(equals - word));
    /* the name is the node's directory too */
    if (!svl_name_is_node(member->name, strlen(member->name)) || !strcmp(member->name, ".") || !strcmp(member->name, "..")) {
        return "the name before = must be 1 to 64 of A-Z a-z 0-9 _ . : [ ] -, and not . or ..";
    }
    return parse_url(member, equals + 1, p);
}

/* @return scheme, host, port and path in one spelling, to find one node that is listed twice */
static const char *canonical(const svl_member_t *member, apr_pool_t *p)
{
    unsigned char address[sizeof(struct in6_addr)];
    char text[INET6_ADDRSTRLEN];
    char *host = apr_pstrdup(p, member->host);
    const char *path = ap_strchr_c(ap_strstr_c(member->base, "://") + 3, '/');

    ap_str_tolower(host);
    if (inet_pton(AF_INET6, host, address) == 1) {
        host = apr_pstrdup(p, inet_ntop(AF_INET6, address, text, sizeof(text)));
    }
    return apr_psprintf(p, "%d %s %d%s", member->tls, host, (int)member->port, path ? path : "");
}

static const char *add_member(svl_node_t *node, apr_array_header_t *members, apr_hash_t *urls, const char *word,
                              const char *where, apr_pool_t *p)
{
    svl_member_t *member = &APR_ARRAY_PUSH(members, svl_member_t);
    const char *right = svl_fleet_parse_member(member, word, p);
    const char *url = right ? NULL : canonical(member, p);

    if (!right && members->nelts > SVL_ROUTE_NODES_MAX) {
        right = "a fleet has at most " APR_STRINGIFY(SVL_ROUTE_NODES_MAX) " nodes";
    }
    else if (!right && apr_hash_get(node->names, member->name, APR_HASH_KEY_STRING)) {
        right = "the name is that of an earlier node; each node has a name of its own";
    }
    else if (!right && apr_hash_get(urls, url, APR_HASH_KEY_STRING)) {
        right = "the URL is that of an earlier node; each node is listed once";
    }
    if (right) {
        return svl_directive_fault(SVL_DIRECTIVE_NODES, word, where, right, p);
    }
    member->endpoint = apr_pstrcat(p, member->base, node->path, NULL);
    /* the array moves as it grows: the hash gets its pointers when it is whole */
    apr_hash_set(node->names, member->name, APR_HASH_KEY_STRING, "");
    apr_hash_set(urls, url, APR_HASH_KEY_STRING, "");
    return NULL;
}

const char *svl_fleet_build(svl_node_t *node, const svl_setting_t *nodes, apr_pool_t *p)
{
    apr_array_header_t *members = apr_array_make(p, 8, sizeof(svl_member_t));
    apr_hash_t *urls = apr_hash_make(p);
    const char *fault = NULL;

    node->names = apr_hash_make(p);
    for (int i = 0; i < nodes->lines->nelts; i++) {
        const svl_directive_line_t *line = &APR_ARRAY_IDX(nodes->lines, i, svl_directive_line_t);

        for (int j = 0; j < line->count && !fault; j++) {
            fault = add_member(node, members, urls, line->words[j], line->where, p);
        }
    }
    if (fault) {
        return fault;
    }
    node->members = (const svl_member_t *)members->elts;
    node->count = (apr_uint32_t)members->nelts;
    for (apr_uint32_t i = 0; i < node->count; i++) {
        apr_hash_set(node->names, node->members[i].name, APR_HASH_KEY_STRING, &node->members[i]);
    }
    return NULL;
}

static void add_set(svl_node_t *node, const char *name, const char *chosen, apr_uint32_t count, apr_pool_t *p)
{
    svl_set_t *set = apr_pcalloc(p, sizeof(*set));
    apr_uint32_t *members = apr_palloc(p, count * sizeof(*members));
    apr_uint32_t *ring = apr_palloc(p, count * sizeof(*ring));

    for (apr_uint32_t i = 0; i < node->count; i++) {
        if (chosen[i]) {
            members[set->count++] = i;
        }
    }
    set->name = name;
    set->members = members;
    set->has_self = chosen[node->self];
    set->ring.count = svl_route_ring(ring, members, count, node->self);
    set->ring.nodes = ring;
    apr_hash_set(node->sets, name, APR_HASH_KEY_STRING, set);
}

static const char *build_set(svl_node_t *node, const svl_directive_line_t *line, apr_pool_t *p)
{
    const char *name = line->words[0];
    char *chosen = apr_pcalloc(p, node->count);

    if (apr_hash_get(node->sets, name, APR_HASH_KEY_STRING)) {
        return svl_directive_fault(SVL_DIRECTIVE_NODE_SET, name, line->where,
                                   "there is such a set already; list its nodes in one line", p);
    }
    for (int i = 1; i < line->count; i++) {
        const svl_member_t *member = apr_hash_get(node->names, line->words[i], APR_HASH_KEY_STRING);

        if (!member || chosen[member - node->members]) {
            return svl_directive_fault(SVL_DIRECTIVE_NODE_SET, apr_pstrcat(p, name, " ", line->words[i], NULL), line->where,
                                       member ? "the node is in this set already; name it once"
                                              : "there is no node with this name in ServicelessNodes",
                                       p);
        }
        chosen[member - node->members] = 1;
    }
    add_set(node, name, chosen, (apr_uint32_t)line->count - 1, p);
    return NULL;
}

const char *svl_fleet_build_sets(svl_node_t *node, const svl_setting_t *sets, apr_pool_t *p)
{
    char *everybody = memset(apr_palloc(p, node->count), 1, node->count);
    const char *fault = NULL;

    node->sets = apr_hash_make(p);
    add_set(node, SVL_FLEET_ALL, everybody, node->count, p);
    for (int i = 0; sets->lines && i < sets->lines->nelts && !fault; i++) {
        fault = build_set(node, &APR_ARRAY_IDX(sets->lines, i, svl_directive_line_t), p);
    }
    return fault;
}

int svl_fleet_equals(const svl_node_t *one, const svl_node_t *other)
{
    if (one->count != other->count) {
        return 0;
    }
    for (apr_uint32_t i = 0; i < one->count; i++) {
        if (strcmp(one->members[i].name, other->members[i].name) || strcmp(one->members[i].base, other->members[i].base)) {
            return 0;
        }
    }
    return 1;
}
