/* SPDX-License-Identifier: Apache-2.0 */
#include "message.h"

#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>

#include "json.h"
#include "log.h"
#include "name.h"
#include "route.h"

#define TIMEOUT_MAX 86400000 /* milliseconds: a day, as of a client's call */
#define DETAIL_MAX 256       /* bytes of a peer's words that are kept */

/* A message while it is read. */
typedef struct reader_t {
    svl_message_t *message;
    const char *next;
    const char *end;
    int line; /* counted from 1, for people */
    int calls;
    svl_fault_t *fault;
    apr_pool_t *pool;
} reader_t;

static apr_status_t refuse(reader_t *reader, const char *wrong)
{
    return svl_fault_set(reader->fault, SVL_REASON_MESSAGE, reader->pool, "line %d: %s", reader->line, wrong);
}

static int next_line(reader_t *reader, svl_message_line_t *line)
{
    apr_size_t left = (apr_size_t)(reader->end - reader->next);
    const char *newline = left > 0 ? memchr(reader->next, '\n', left) : NULL;

    if (left == 0) {
        return 0;
    }
    line->text = reader->next;
    line->length = newline ? (apr_size_t)(newline - reader->next) : left;
    reader->next += line->length + (newline != NULL);
    reader->line++;
    return 1;
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t')) {
        at++;
    }
    return at;
}

/* Tells relay lines from call lines without parsing these. */
static int is_relay_line(const svl_message_line_t *line)
{
    static const char member[] = "\"relay\"";
    const char *end = line->text + line->length;
    const char *at = skip_blanks(line->text, end);

    if (at == end || *at != '{') {
        return 0;
    }
    at = skip_blanks(at + 1, end);
    return (apr_size_t)(end - at) >= sizeof(member) - 1 && memcmp(at, member, sizeof(member) - 1) == 0;
}

static const char *read_sender(svl_message_t *message, const json_t *body)
{
    const json_t *from = json_object_get(body, "from");

    if (!json_is_string(from) || !svl_name_is_node(json_string_value(from), json_string_length(from))) {
        return "\"from\" is not the name of a node";
    }
    if (message->from && strcmp(message->from, json_string_value(from)) != 0) {
        return "\"from\" is not that of the first line";
    }
    message->from = json_string_value(from);
    return NULL;
}

static const char *read_route(svl_message_group_t *group, const json_t *route, apr_pool_t *p)
{
    static const char bad[] = "bad";
    apr_size_t count = json_array_size(route);
    apr_hash_t *seen = count > 0 ? apr_hash_make(p) : NULL;

    if (!json_is_array(route) || count > SVL_ROUTE_NODES_MAX) {
        return "\"route\" is not an array of at most 10000 names";
    }
    group->route = apr_array_make(p, (int)count, sizeof(const char *));
    group->bad = apr_array_make(p, 0, sizeof(const char *));
    for (apr_size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(route, i);
        const char *name = json_string_value(item);
        const char *before;

        if (!name) {
            return "\"route\" holds something that is not a name";
        }
        before = apr_hash_get(seen, name, APR_HASH_KEY_STRING);
        if (!before && svl_name_is_node(name, json_string_length(item))) {
            apr_hash_set(seen, name, APR_HASH_KEY_STRING, name);
            APR_ARRAY_PUSH(group->route, const char *) = name;
        }
        else if (before != bad) {
            apr_hash_set(seen, name, APR_HASH_KEY_STRING, bad);
            APR_ARRAY_PUSH(group->bad, const char *) = svl_log_escape(p, name, SVL_NAME_NODE_MAX);
        }
    }
    return NULL;
}

/* @return nonzero and the number when it is 0 … most */
static int take_count(const json_t *value, json_int_t most, apr_int64_t *number)
{
    *number = json_integer_value(value);
    return json_is_integer(value) && *number >= 0 && *number <= most;
}

static const char *read_reply(svl_message_group_t *group, const json_t *reply, const json_t *timeout)
{
    if (!reply) {
        return NULL;
    }
    if (!json_is_string(reply) || strcmp(json_string_value(reply), "outcome") != 0) {
        return "\"reply\" is not \"outcome\"";
    }
    group->outcome = 1;
    return take_count(timeout, TIMEOUT_MAX, &group->timeout_ms) ? NULL : "\"timeout_ms\" is not 0 to a day";
}

static const char *read_relay(svl_message_t *message, svl_message_group_t *group, const json_t *relay, apr_pool_t *p)
{
    const char *wrong = read_sender(message, relay);
    apr_int64_t arity;

    if (!wrong && !take_count(json_object_get(relay, "arity"), SVL_ROUTE_ARITY_MAX, &arity)) {
        wrong = "\"arity\" is not 0 to 10000";
    }
    if (!wrong) {
        group->arity = (apr_uint32_t)arity;
        wrong = read_route(group, json_object_get(relay, "route"), p);
    }
    return wrong ? wrong : read_reply(group, json_object_get(relay, "reply"), json_object_get(relay, "timeout_ms"));
}

static const char *read_sync(svl_message_t *message, svl_message_group_t *group, const svl_message_line_t *line, json_t *sync,
                             apr_pool_t *p)
{
    message->kind = SVL_MESSAGE_SYNC;
    message->sync = line->text;
    message->sync_length = line->length;
    message->sync_json = sync;
    group->route = apr_array_make(p, 0, sizeof(const char *));
    group->bad = apr_array_make(p, 0, sizeof(const char *));
    return read_sender(message, sync);
}

/* Reads a line that governs the call lines after it: a relay line, or the sync line that a message may begin with. */
static apr_status_t read_governing_line(reader_t *reader, const svl_message_line_t *line)
{
    svl_message_t *message = reader->message;
    svl_message_group_t *group = apr_array_push(message->groups);
    const char *wrong = NULL;
    const json_t *relay;
    json_t *sync;
    json_t *json;

    memset(group, 0, sizeof(*group));
    group->calls = apr_array_make(reader->pool, 4, sizeof(svl_message_line_t));
    if (svl_json_parse(&json, line->text, line->length, &wrong, reader->pool) != APR_SUCCESS) {
        return refuse(reader, wrong);
    }
    relay = json_object_get(json, "relay");
    sync = json_object_get(json, "sync");
    if (json_is_object(relay) && !sync && message->kind == SVL_MESSAGE_RELAY) {
        wrong = read_relay(message, group, relay, reader->pool);
    }
    else if (json_is_object(sync) && !relay && reader->line == 1) {
        wrong = read_sync(message, group, line, sync, reader->pool);
    }
    else {
        wrong = "neither a relay nor a sync";
    }
    if (!wrong && group->outcome && reader->line > 1) {
        wrong = "an outcome is asked for beside other calls";
    }
    return wrong ? refuse(reader, wrong) : APR_SUCCESS;
}

static apr_status_t read_line(reader_t *reader, const svl_message_line_t *line)
{
    svl_message_group_t *group;

    if (line->length == 0) {
        return refuse(reader, "empty");
    }
    if (reader->line == 1 || is_relay_line(line)) {
        return read_governing_line(reader, line);
    }
    if (++reader->calls > SVL_MESSAGE_CALLS_MAX) {
        return refuse(reader, "more calls than a message may have");
    }
    group = &APR_ARRAY_IDX(reader->message->groups, reader->message->groups->nelts - 1, svl_message_group_t);
    APR_ARRAY_PUSH(group->calls, svl_message_line_t) = *line;
    return APR_SUCCESS;
}

/* Who asks for an outcome gets one answer, so there is one call. */
static int asks_soundly(const apr_array_header_t *groups)
{
    const svl_message_group_t *first = &APR_ARRAY_IDX(groups, 0, svl_message_group_t);

    return !first->outcome || (groups->nelts == 1 && first->calls->nelts == 1);
}

apr_status_t svl_message_parse(svl_message_t **message, const char *body, apr_size_t length, svl_fault_t *fault, apr_pool_t *p)
{
    svl_message_t *fresh = apr_pcalloc(p, sizeof(*fresh));
    reader_t reader = {.message = fresh, .next = body, .end = body + length, .fault = fault, .pool = p};
    svl_message_line_t line;
    apr_status_t status = APR_SUCCESS;

    *message = NULL;
    fresh->groups = apr_array_make(p, 1, sizeof(svl_message_group_t));
    if (length == 0 || memchr(body, '\r', length)) {
        return svl_fault_set(fault, SVL_REASON_MESSAGE, p, length == 0 ? "the message is empty" : "the message holds a CR");
    }
    while (status == APR_SUCCESS && next_line(&reader, &line)) {
        status = read_line(&reader, &line);
    }
    if (status == APR_SUCCESS && !asks_soundly(fresh->groups)) {
        status = svl_fault_set(fault, SVL_REASON_MESSAGE, p, "an outcome is asked for something else than one call");
    }
    if (status == APR_SUCCESS) {
        *message = fresh;
    }
    return status;
}

const char *svl_message_relay_line(const char *from, const char *const *route, apr_uint32_t count, apr_uint32_t arity,
                                   apr_int64_t timeout_ms, apr_pool_t *p, apr_size_t *length)
{
    enum { FRAME = 160 }; /* what is not a name: under 130 bytes with the longest numbers */
    apr_size_t size = FRAME + strlen(from);
    char *line;
    char *end;

    count = route ? count : 0;
    for (apr_uint32_t i = 0; i < count; i++) {
        size += strlen(route[i]) + 3;
    }
    line = apr_palloc(p, size);
    end = line + apr_snprintf(line, size, "{\"relay\":{\"from\":\"%s\",\"route\":[", from);
    for (apr_uint32_t i = 0; i < count; i++) {
        apr_size_t name = strlen(route[i]);

        if (i > 0) {
            *end++ = ',';
        }
        *end++ = '"';
        memcpy(end, route[i], name);
        end += name;
        *end++ = '"';
    }
    end += apr_snprintf(end, size - (apr_size_t)(end - line), "],\"arity\":%u", arity);
    if (timeout_ms >= 0) {
        end += apr_snprintf(end, size - (apr_size_t)(end - line), ",\"reply\":\"outcome\",\"timeout_ms\":%" APR_INT64_T_FMT,
                            timeout_ms);
    }
    end += apr_snprintf(end, size - (apr_size_t)(end - line), "}}\n");
    *length = (apr_size_t)(end - line);
    return line;
}

/* Adds a member of an object, once whoever collected it twice: the peer's parser refuses duplicate keys. */
static void add_member(apr_hash_t *members, const char *name, const char *value, apr_pool_t *p)
{
    apr_hash_set(members, name, APR_HASH_KEY_STRING, apr_pstrcat(p, svl_json_quote(name, p), ":", value, NULL));
}

static const char *write_object(apr_hash_t *members, apr_pool_t *p)
{
    apr_array_header_t *texts = apr_array_make(p, (int)apr_hash_count(members), sizeof(const char *));

    for (apr_hash_index_t *at = apr_hash_first(p, members); at; at = apr_hash_next(at)) {
        APR_ARRAY_PUSH(texts, const char *) = apr_hash_this_val(at);
    }
    return apr_pstrcat(p, "{", apr_array_pstrcat(p, texts, ','), "}", NULL);
}

static const char *write_refused(const svl_message_ack_t *ack, apr_pool_t *p)
{
    apr_hash_t *nodes = apr_hash_make(p);
    apr_hash_t *calls = apr_hash_make(p);

    for (int i = 0; ack->nodes && i < ack->nodes->nelts; i++) {
        add_member(nodes, APR_ARRAY_IDX(ack->nodes, i, const char *), "\"unknown\"", p);
    }
    for (int i = 0; ack->calls && i < ack->calls->nelts; i++) {
        const svl_message_refusal_t *call = &APR_ARRAY_IDX(ack->calls, i, svl_message_refusal_t);
        const char *detail = call->detail ? apr_pstrcat(p, ",\"detail\":", svl_json_quote(call->detail, p), NULL) : "";

        add_member(calls, call->id, apr_psprintf(p, "{\"status\":%d%s}", call->status, detail), p);
    }
    if (apr_hash_count(nodes) + apr_hash_count(calls) == 0) {
        return "";
    }
    return apr_pstrcat(p, ",\"refused\":{\"nodes\":", write_object(nodes, p), ",\"calls\":", write_object(calls, p), "}", NULL);
}

const char *svl_message_write_ack(const svl_message_ack_t *ack, apr_pool_t *p, apr_size_t *length)
{
    const char *text = apr_psprintf(p, "{\"from\":%s,\"accepted\":%" APR_INT64_T_FMT ",\"duplicates\":%" APR_INT64_T_FMT "%s}",
                                    svl_json_quote(ack->from, p), ack->accepted, ack->duplicates, write_refused(ack, p));

    *length = strlen(text);
    return text;
}

static const char *read_refused_nodes(svl_message_ack_t *ack, json_t *nodes, apr_pool_t *p)
{
    if (nodes && (!json_is_object(nodes) || json_object_size(nodes) > SVL_ROUTE_NODES_MAX)) {
        return "\"nodes\" is not an object of at most 10000 names";
    }
    ack->nodes = nodes ? apr_array_make(p, 1, sizeof(const char *)) : NULL;
    for (void *at = json_object_iter(nodes); at; at = json_object_iter_next(nodes, at)) {
        const char *name = json_object_iter_key(at);

        /* what fits no grammar was never configured here, so nothing follows from it */
        if (svl_name_is_node(name, strlen(name))) {
            APR_ARRAY_PUSH(ack->nodes, const char *) = name;
        }
    }
    return NULL;
}

static const char *read_refused_calls(svl_message_ack_t *ack, json_t *calls, apr_pool_t *p)
{
    if (calls && (!json_is_object(calls) || json_object_size(calls) > SVL_MESSAGE_CALLS_MAX)) {
        return "\"calls\" is not an object of at most 65536 ids";
    }
    ack->calls = calls ? apr_array_make(p, 1, sizeof(svl_message_refusal_t)) : NULL;
    for (void *at = json_object_iter(calls); at; at = json_object_iter_next(calls, at)) {
        const char *id = json_object_iter_key(at);
        json_int_t status = json_integer_value(json_object_get(json_object_iter_value(at), "status"));
        const char *detail = json_string_value(json_object_get(json_object_iter_value(at), "detail"));

        if (!svl_name_is_id(id, strlen(id)) || status < 400 || status > 599) {
            return "\"calls\" holds something that is not an id with the status of a refusal";
        }
        APR_ARRAY_PUSH(ack->calls, svl_message_refusal_t) =
            (svl_message_refusal_t){id, (int)status, detail ? svl_log_escape(p, detail, DETAIL_MAX) : NULL};
    }
    return NULL;
}

/* @return NULL or what is wrong */
static const char *read_ack(svl_message_ack_t *ack, const json_t *json, apr_pool_t *p)
{
    const json_t *from = json_object_get(json, "from");
    const json_t *refused = json_object_get(json, "refused");
    const char *wrong;

    ack->from = json_string_value(from);
    if (!ack->from || !svl_name_is_node(ack->from, json_string_length(from))) {
        return "\"from\" is not the name of a node";
    }
    if (!take_count(json_object_get(json, "accepted"), APR_INT64_MAX, &ack->accepted)
        || !take_count(json_object_get(json, "duplicates"), APR_INT64_MAX, &ack->duplicates)) {
        return "\"accepted\" or \"duplicates\" is not a count";
    }
    if (refused && !json_is_object(refused)) {
        return "\"refused\" is not an object";
    }
    wrong = read_refused_nodes(ack, json_object_get(refused, "nodes"), p);
    return wrong ? wrong : read_refused_calls(ack, json_object_get(refused, "calls"), p);
}

apr_status_t svl_message_parse_ack(svl_message_ack_t **ack, const char *body, apr_size_t length, svl_fault_t *fault,
                                   apr_pool_t *p)
{
    svl_message_ack_t *fresh = apr_pcalloc(p, sizeof(*fresh));
    const char *wrong = NULL;
    json_t *json;

    *ack = NULL;
    if (svl_json_parse(&json, body, length, &wrong, p) == APR_SUCCESS) {
        wrong = read_ack(fresh, json, p);
    }
    if (wrong) {
        return svl_fault_set(fault, SVL_REASON_MESSAGE, p, "the acknowledgement: %s", wrong);
    }
    *ack = fresh;
    return APR_SUCCESS;
}
