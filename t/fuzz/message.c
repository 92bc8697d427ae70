/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: a message is framed as it was sent: its call lines are the body's own bytes, in order, each under the relay line before it. */
#include "fuzz.h"

#include "../../mod_serviceless/core/call.h"
#include "../../mod_serviceless/core/message.h"
#include "../../mod_serviceless/core/route.h"

static const svl_message_group_t *group_at(const svl_message_t *message, int i)
{
    return &APR_ARRAY_IDX(message->groups, i, svl_message_group_t);
}

static const svl_message_line_t *line_at(const svl_message_group_t *group, int i)
{
    return &APR_ARRAY_IDX(group->calls, i, svl_message_line_t);
}

/* @return where the group ends in the body */
static const char *check_lines(const svl_message_group_t *group, const char *at, const char *end, apr_pool_t *p)
{
    for (int i = 0; i < group->calls->nelts; i++) {
        const svl_message_line_t *line = line_at(group, i);
        svl_call_line_t *call;

        FUZZ_REQUIRE(line->length > 0 && line->text > at && line->text + line->length <= end && line->text[-1] == '\n');
        FUZZ_REQUIRE(i == 0 || line->text == at + 1);
        FUZZ_REQUIRE(!memchr(line->text, '\n', line->length) && !memchr(line->text, '\r', line->length));
        at = line->text + line->length;
        FUZZ_REQUIRE(at == end || *at == '\n');
        svl_call_parse_line(&call, line->text, line->length, NULL, p);
    }
    return at;
}

static void check_group(const svl_message_group_t *group)
{
    FUZZ_REQUIRE(group->arity <= SVL_ROUTE_ARITY_MAX);
    FUZZ_REQUIRE(group->timeout_ms >= 0 && group->timeout_ms <= 86400000);
    FUZZ_REQUIRE(group->route->nelts + group->bad->nelts <= SVL_ROUTE_NODES_MAX);
    for (int i = 0; i < group->route->nelts; i++) {
        const char *name = APR_ARRAY_IDX(group->route, i, const char *);

        FUZZ_REQUIRE(svl_name_is_node(name, strlen(name)));
        for (int j = 0; j < i; j++) {
            FUZZ_REQUIRE(strcmp(name, APR_ARRAY_IDX(group->route, j, const char *)) != 0);
        }
    }
    for (int i = 0; i < group->bad->nelts; i++) {
        fuzz_printable(APR_ARRAY_IDX(group->bad, i, const char *));
    }
}

/* What a node that passes it on writes. */
static const char *write_message(const svl_message_t *message, apr_pool_t *p)
{
    apr_array_header_t *parts = apr_array_make(p, 16, sizeof(const char *));

    for (int i = 0; i < message->groups->nelts; i++) {
        const svl_message_group_t *group = group_at(message, i);
        apr_size_t length;

        APR_ARRAY_PUSH(parts, const char *) =
            svl_message_relay_line(message->from, (const char *const *)group->route->elts, (apr_uint32_t)group->route->nelts,
                                   group->arity, group->outcome ? group->timeout_ms : -1, p, &length);
        FUZZ_REQUIRE(length == strlen(APR_ARRAY_IDX(parts, parts->nelts - 1, const char *)));
        for (int j = 0; j < group->calls->nelts; j++) {
            const svl_message_line_t *line = line_at(group, j);

            if (memchr(line->text, '\0', line->length)) {
                return NULL;
            }
            APR_ARRAY_PUSH(parts, const char *) = apr_pstrmemdup(p, line->text, line->length);
            APR_ARRAY_PUSH(parts, const char *) = "\n";
        }
    }
    return apr_array_pstrcat(p, parts, 0);
}

static void check_equal(const svl_message_t *one, const svl_message_t *other)
{
    FUZZ_REQUIRE(other->kind == SVL_MESSAGE_RELAY && strcmp(one->from, other->from) == 0);
    FUZZ_REQUIRE(one->groups->nelts == other->groups->nelts);
    for (int i = 0; i < one->groups->nelts; i++) {
        const svl_message_group_t *group = group_at(one, i);
        const svl_message_group_t *again = group_at(other, i);

        FUZZ_REQUIRE(group->arity == again->arity && group->outcome == again->outcome);
        FUZZ_REQUIRE(!group->outcome || group->timeout_ms == again->timeout_ms);
        FUZZ_REQUIRE(group->route->nelts == again->route->nelts && again->bad->nelts == 0);
        for (int j = 0; j < group->route->nelts; j++) {
            FUZZ_REQUIRE(strcmp(APR_ARRAY_IDX(group->route, j, const char *), APR_ARRAY_IDX(again->route, j, const char *))
                         == 0);
        }
        FUZZ_REQUIRE(group->calls->nelts == again->calls->nelts);
        for (int j = 0; j < group->calls->nelts; j++) {
            FUZZ_REQUIRE(line_at(group, j)->length == line_at(again, j)->length);
            FUZZ_REQUIRE(memcmp(line_at(group, j)->text, line_at(again, j)->text, line_at(again, j)->length) == 0);
        }
    }
}

static void feed(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_message_t *message;
    svl_message_t *again;
    apr_status_t status = svl_message_parse(&message, bytes, length, &fault, p);
    const char *at = bytes;
    const char *text;

    if (status != APR_SUCCESS) {
        FUZZ_REQUIRE(!message);
        fuzz_refused(status, &fault, SVL_REASON_MESSAGE, SVL_REASON_MESSAGE, p);
        return;
    }
    FUZZ_REQUIRE(svl_name_is_node(message->from, strlen(message->from)) && message->groups->nelts >= 1);
    for (int i = 0; i < message->groups->nelts; i++) {
        check_group(group_at(message, i));
        FUZZ_REQUIRE(!group_at(message, i)->outcome
                     || (message->groups->nelts == 1 && group_at(message, i)->calls->nelts == 1));
        at = check_lines(group_at(message, i), at, bytes + length, p);
    }
    FUZZ_REQUIRE((message->kind == SVL_MESSAGE_SYNC) == json_is_object(message->sync_json));
    text = message->kind == SVL_MESSAGE_RELAY ? write_message(message, p) : NULL;
    if (text) {
        FUZZ_REQUIRE(svl_message_parse(&again, text, strlen(text), NULL, p) == APR_SUCCESS);
        check_equal(message, again);
    }
}

FUZZ_TARGET(feed)
