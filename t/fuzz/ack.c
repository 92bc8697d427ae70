/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: an acknowledgement that is read and written again says the same; what a peer's words hold is escaped and bounded. */
#include "fuzz.h"

#include "../../mod_serviceless/core/message.h"
#include "../../mod_serviceless/core/name.h"

#define DETAIL_MAX 256 /* bytes of a peer's words that are kept; each may become four */

static const svl_message_refusal_t *call_at(const svl_message_ack_t *ack, int i)
{
    return &APR_ARRAY_IDX(ack->calls, i, svl_message_refusal_t);
}

static void check_ack(const svl_message_ack_t *ack)
{
    FUZZ_REQUIRE(svl_name_is_node(ack->from, strlen(ack->from)) && ack->accepted >= 0 && ack->duplicates >= 0);
    for (int i = 0; ack->nodes && i < ack->nodes->nelts; i++) {
        FUZZ_REQUIRE(
            svl_name_is_node(APR_ARRAY_IDX(ack->nodes, i, const char *), strlen(APR_ARRAY_IDX(ack->nodes, i, const char *))));
    }
    for (int i = 0; ack->calls && i < ack->calls->nelts; i++) {
        const svl_message_refusal_t *call = call_at(ack, i);

        FUZZ_REQUIRE(svl_name_is_id(call->id, strlen(call->id)) && call->status >= 400 && call->status <= 599);
        if (call->detail) {
            fuzz_printable(call->detail);
            FUZZ_REQUIRE(strlen(call->detail) <= 4 * DETAIL_MAX);
        }
    }
}

static int names(const svl_message_ack_t *ack, const char *name)
{
    for (int i = 0; ack->nodes && i < ack->nodes->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(ack->nodes, i, const char *), name) == 0) {
            return 1;
        }
    }
    return 0;
}

static const svl_message_refusal_t *find(const svl_message_ack_t *ack, const char *id)
{
    for (int i = 0; ack->calls && i < ack->calls->nelts; i++) {
        if (strcmp(call_at(ack, i)->id, id) == 0) {
            return call_at(ack, i);
        }
    }
    return NULL;
}

static int count(const apr_array_header_t *array)
{
    return array ? array->nelts : 0;
}

static void check_equal(const svl_message_ack_t *one, const svl_message_ack_t *other)
{
    FUZZ_REQUIRE(strcmp(one->from, other->from) == 0);
    FUZZ_REQUIRE(one->accepted == other->accepted && one->duplicates == other->duplicates);
    FUZZ_REQUIRE(count(one->nodes) == count(other->nodes) && count(one->calls) == count(other->calls));
    for (int i = 0; i < count(one->nodes); i++) {
        FUZZ_REQUIRE(names(other, APR_ARRAY_IDX(one->nodes, i, const char *)));
    }
    for (int i = 0; i < count(one->calls); i++) {
        const svl_message_refusal_t *call = call_at(one, i);
        const svl_message_refusal_t *again = find(other, call->id);

        FUZZ_REQUIRE(again && again->status == call->status && !again->detail == !call->detail);
        FUZZ_REQUIRE(!call->detail || strncmp(again->detail, call->detail, DETAIL_MAX) == 0);
    }
}

static void feed(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_message_ack_t *ack;
    svl_message_ack_t *again;
    apr_status_t status = svl_message_parse_ack(&ack, bytes, length, &fault, p);
    const char *text;

    if (status != APR_SUCCESS) {
        FUZZ_REQUIRE(!ack);
        fuzz_refused(status, &fault, SVL_REASON_MESSAGE, SVL_REASON_MESSAGE, p);
        return;
    }
    check_ack(ack);
    text = svl_message_write_ack(ack, p, &length);
    FUZZ_REQUIRE(length == strlen(text));
    FUZZ_REQUIRE(svl_message_parse_ack(&again, text, length, NULL, p) == APR_SUCCESS);
    check_equal(ack, again);
}

FUZZ_TARGET(feed)
