/* SPDX-License-Identifier: Apache-2.0 */
#include "call.h"

#include <string.h>

#include <apr_strings.h>

#include "json.h"
#include "log.h"
#include "route.h"

#define QUOTED_MAX 64 /* bytes of a client's text that a detail repeats */

static const char *const outcomes[SVL_OUTCOME_COUNT] = {
    [SVL_OUTCOME_PENDING] = "pending",
    [SVL_OUTCOME_OK] = "ok",
    [SVL_OUTCOME_ERROR] = "error",
    [SVL_OUTCOME_UNKNOWN_FUNCTION] = "unknown-function",
    [SVL_OUTCOME_REFUSED] = "refused",
    [SVL_OUTCOME_UNREACHABLE] = "unreachable",
    [SVL_OUTCOME_UNKNOWN] = "unknown",
    [SVL_OUTCOME_EXPIRED] = "expired",
    [SVL_OUTCOME_MISSED] = "missed",
    [SVL_OUTCOME_ACCEPTED] = "accepted",
    [SVL_OUTCOME_QUARANTINED] = "quarantined",
};

static const struct {
    const char *name;
    svl_reply_e reply;
} replies[] = {
    {"local", SVL_REPLY_LOCAL},
    {"all", SVL_REPLY_ALL},
    {"accepted", SVL_REPLY_ACCEPTED},
};

const char *svl_call_outcome_name(svl_outcome_e outcome)
{
    return outcomes[(unsigned int)outcome < SVL_OUTCOME_COUNT ? outcome : SVL_OUTCOME_UNKNOWN];
}

/* @return the string when it fits the grammar, or NULL */
static const char *take_name(const json_t *value, int (*fits)(const char *name, apr_size_t length))
{
    return json_is_string(value) && fits(json_string_value(value), json_string_length(value)) ? json_string_value(value) : NULL;
}

/* @return the integer when it is 1 … most, or 0 */
static apr_int64_t take_number(const json_t *value, apr_int64_t most)
{
    apr_int64_t number = json_integer_value(value);

    return number > 0 && number <= most ? number : 0;
}

/* @return the integer when it is positive, at most SVL_CALL_TTL_MAX, or 0 */
static apr_int64_t take_ttl(const json_t *value)
{
    apr_int64_t ttl = take_number(value, APR_INT64_MAX);

    return ttl < SVL_CALL_TTL_MAX ? ttl : SVL_CALL_TTL_MAX;
}

/* The members of a client's document: each returns NULL or what would be right. */

static const char *take_id(svl_call_request_t *request, json_t *value)
{
    if (!request->id) {
        request->id = take_name(value, svl_name_is_id);
        return request->id ? NULL : "be 1 to 64 of A-Z a-z 0-9 _ -";
    }
    return json_is_string(value) && strcmp(json_string_value(value), request->id) == 0 ? NULL : "equal webhook-id";
}

static const char *take_function(svl_call_request_t *request, json_t *value)
{
    request->function = take_name(value, svl_name_is_function);
    return request->function ? NULL : "be the name of a function";
}

static const char *take_args(svl_call_request_t *request, json_t *value)
{
    request->args = value;
    return json_is_array(value) ? NULL : "be an array";
}

static const char *take_kwargs(svl_call_request_t *request, json_t *value)
{
    request->kwargs = value;
    return json_is_object(value) ? NULL : "be an object";
}

static const char *take_reply(svl_call_request_t *request, json_t *value)
{
    for (apr_size_t i = 0; json_is_string(value) && i < sizeof(replies) / sizeof(replies[0]); i++) {
        if (strcmp(json_string_value(value), replies[i].name) == 0) {
            request->reply = replies[i].reply;
            return NULL;
        }
    }
    return "be local, all or accepted";
}

static const char *take_nodes(svl_call_request_t *request, json_t *value)
{
    request->nodes = take_name(value, svl_name_is_node);
    return request->nodes ? NULL : "be the name of a node set";
}

static const char *take_mode(svl_call_request_t *request, json_t *value)
{
    request->has_mode = svl_route_parse_mode(json_string_value(value), &request->arity);
    return request->has_mode ? NULL : "be bounce, broadcast, tree or tree:K";
}

static const char *take_timeout(svl_call_request_t *request, json_t *value)
{
    double seconds = json_number_value(value);

    if (!(seconds > 0 && seconds <= SVL_CALL_TIMEOUT_MAX)) {
        return "be seconds, more than 0 and at most a day";
    }
    request->timeout_ms = (apr_int64_t)(seconds * 1000);
    if (request->timeout_ms == 0) {
        request->timeout_ms = 1; /* 0 would mean that none was given */
    }
    return NULL;
}

static const char *take_request_ttl(svl_call_request_t *request, json_t *value)
{
    request->ttl = take_ttl(value);
    return request->ttl > 0 ? NULL : "be whole seconds, 1 or more";
}

/* clang-format off */
static const struct {
    const char *name;
    const char *(*take)(svl_call_request_t *request, json_t *value);
} members[] = {
    {"id", take_id},
    {"function", take_function},
    {"args", take_args},
    {"kwargs", take_kwargs},
    {"reply", take_reply},
    {"nodes", take_nodes},
    {"mode", take_mode},
    {"timeout", take_timeout},
    {"ttl", take_request_ttl},
};
/* clang-format on */

static apr_status_t take_member(svl_call_request_t *request, const char *name, json_t *value, svl_fault_t *fault, apr_pool_t *p)
{
    for (apr_size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (strcmp(name, members[i].name) == 0) {
            const char *right = members[i].take(request, value);

            return right ? svl_fault_set(fault, SVL_REASON_CALL, p, "%s must %s", name, right) : APR_SUCCESS;
        }
    }
    return svl_fault_set(fault, SVL_REASON_CALL, p, "a call has no member \"%s\"", svl_log_escape(p, name, QUOTED_MAX));
}

/* @return an empty array or object of the pool's */
static json_t *empty(json_t *fresh, apr_pool_t *p)
{
    if (!fresh) {
        svl_json_lack(p);
    }
    return svl_json_own(fresh, p);
}

apr_status_t svl_call_parse_request(svl_call_request_t **request, const char *body, apr_size_t length, const char *id,
                                    svl_fault_t *fault, apr_pool_t *p)
{
    svl_call_request_t *fresh = apr_pcalloc(p, sizeof(*fresh));
    apr_status_t status = APR_SUCCESS;
    const char *detail;
    json_t *json;

    *request = NULL;
    if (svl_json_parse(&json, body, length, &detail, p) != APR_SUCCESS) {
        return svl_fault_set(fault, SVL_REASON_JSON, p, "%s", detail);
    }
    if (!json_is_object(json)) {
        return svl_fault_set(fault, SVL_REASON_CALL, p, "a call must be an object");
    }
    fresh->id = id ? apr_pstrdup(p, id) : NULL;
    for (void *at = json_object_iter(json); at && status == APR_SUCCESS; at = json_object_iter_next(json, at)) {
        status = take_member(fresh, json_object_iter_key(at), json_object_iter_value(at), fault, p);
    }
    if (status == APR_SUCCESS && !(fresh->id && fresh->function)) {
        status = svl_fault_set(fault, SVL_REASON_CALL, p, "a call must %s", fresh->id ? "name its function" : "have an id");
    }
    if (status == APR_SUCCESS) {
        fresh->args = fresh->args ? fresh->args : empty(json_array(), p);
        fresh->kwargs = fresh->kwargs ? fresh->kwargs : empty(json_object(), p);
        *request = fresh;
    }
    return status;
}

/* What says which call it is.  @return NULL or the member that does not fit */
static const char *read_identity(svl_call_line_t *call, const json_t *json)
{
    call->id = take_name(json_object_get(json, "id"), svl_name_is_id);
    call->origin = take_name(json_object_get(json, "origin"), svl_name_is_node);
    call->set = take_name(json_object_get(json, "set"), svl_name_is_node);
    call->epoch = take_name(json_object_get(json, "epoch"), svl_name_is_epoch);
    call->seq = (apr_uint64_t)take_number(json_object_get(json, "seq"), APR_INT64_MAX);
    return !call->id       ? "id"
           : !call->origin ? "origin"
           : !call->set    ? "set"
           : !call->epoch  ? "epoch"
           : !call->seq    ? "seq"
                           : NULL;
}

/* What it asks for.  @return NULL or the member that does not fit */
static const char *read_content(svl_call_line_t *call, const json_t *json)
{
    json_t *args = json_object_get(json, "args");
    json_t *kwargs = json_object_get(json, "kwargs");

    call->function = take_name(json_object_get(json, "function"), svl_name_is_function);
    call->args = json_is_array(args) ? args : NULL;
    call->kwargs = json_is_object(kwargs) ? kwargs : NULL;
    call->issued = take_number(json_object_get(json, "issued"), SVL_CALL_ISSUED_MAX);
    call->ttl = take_ttl(json_object_get(json, "ttl"));
    return !call->function ? "function"
           : !call->args   ? "args"
           : !call->kwargs ? "kwargs"
           : !call->issued ? "issued"
           : !call->ttl    ? "ttl"
                           : NULL;
}

static apr_status_t read_line(svl_call_line_t **call, const char *line, apr_size_t length, svl_fault_t *fault, apr_pool_t *p)
{
    svl_call_line_t *fresh = apr_pcalloc(p, sizeof(*fresh));
    const char *wrong;
    json_t *json;

    *call = NULL;
    if (svl_json_parse(&json, line, length, &wrong, p) != APR_SUCCESS) {
        return svl_fault_set(fault, SVL_REASON_JSON, p, "%s", wrong);
    }
    wrong = read_identity(fresh, json);
    if (!wrong) {
        *call = fresh;
        wrong = read_content(fresh, json);
    }
    return wrong ? svl_fault_set(fault, SVL_REASON_CALL, p, "%s of the call line is missing or wrong", wrong) : APR_SUCCESS;
}

apr_status_t svl_call_parse_line(svl_call_line_t **call, const char *line, apr_size_t length, svl_fault_t *fault, apr_pool_t *p)
{
    svl_call_line_t *fresh = apr_pcalloc(p, sizeof(*fresh));
    svl_json_scan_part_t args, kwargs;

    if (svl_call_scan(fresh, &args, &kwargs, line, length, p)) {
        fresh->args = svl_json_own(svl_json_scan_build(&args), p);
        fresh->kwargs = svl_json_own(svl_json_scan_build(&kwargs), p);
        if (fresh->args && fresh->kwargs) {
            *call = fresh;
            return APR_SUCCESS;
        }
    }
    return read_line(call, line, length, fault, p);
}

apr_status_t svl_call_check_line(svl_call_line_t **call, const char *line, apr_size_t length, svl_fault_t *fault, apr_pool_t *p)
{
    svl_call_line_t *fresh = apr_pcalloc(p, sizeof(*fresh));
    svl_json_scan_part_t args, kwargs;

    if (svl_call_scan(fresh, &args, &kwargs, line, length, p)) {
        *call = fresh;
        return APR_SUCCESS;
    }
    return read_line(call, line, length, fault, p);
}

/* @return args or kwargs as JSON, or NULL: a line adds one level, and must still parse */
static const char *write_part(const json_t *part, json_type type, const char *empty, apr_pool_t *p)
{
    apr_size_t length;

    if (!part) {
        return empty;
    }
    return json_typeof(part) == type && svl_json_fits(part, SVL_JSON_DEPTH - 1) ? svl_json_write(part, p, &length) : NULL;
}

apr_status_t svl_call_draft(svl_call_draft_t *draft, const char *id, const char *function, const json_t *args,
                            const json_t *kwargs, const char *origin, const char *set, apr_int64_t issued, apr_int64_t ttl,
                            apr_pool_t *p)
{
    const char *array = write_part(args, JSON_ARRAY, "[]", p);
    const char *object = write_part(kwargs, JSON_OBJECT, "{}", p);

    if (!array || !object || issued < 1 || issued > SVL_CALL_ISSUED_MAX || ttl < 1 || !svl_name_is_id(id, strlen(id))
        || !svl_name_is_function(function, strlen(function)) || !svl_name_is_node(origin, strlen(origin))
        || !svl_name_is_node(set, strlen(set))) {
        return APR_EINVAL;
    }
    /* the grammars of names hold nothing that JSON would escape */
    draft->head = apr_pstrcat(p, "{\"id\":\"", id, "\",\"function\":\"", function, "\",\"args\":", array,
                              ",\"kwargs\":", object, ",\"origin\":\"", origin, "\",\"set\":\"", set, "\",", NULL);
    draft->head_length = strlen(draft->head);
    draft->tail = apr_psprintf(p, ",\"issued\":%" APR_INT64_T_FMT ",\"ttl\":%" APR_INT64_T_FMT "}", issued, ttl);
    draft->tail_length = strlen(draft->tail);
    return APR_SUCCESS;
}

apr_size_t svl_call_stamp(char bytes[SVL_CALL_STAMP_MAX], const char *epoch, apr_uint64_t seq)
{
    return (apr_size_t)apr_snprintf(bytes, SVL_CALL_STAMP_MAX, "\"epoch\":\"%.*s\",\"seq\":%" APR_UINT64_T_FMT, SVL_NAME_EPOCH,
                                    epoch, seq);
}

static int is_empty(const json_t *part)
{
    return !part || json_array_size(part) + json_object_size(part) == 0;
}

static int same_part(const json_t *one, const json_t *other)
{
    return is_empty(one) || is_empty(other) ? is_empty(one) && is_empty(other) : json_equal(one, other);
}

int svl_call_equal(const svl_call_line_t *call, const char *function, const json_t *args, const json_t *kwargs, const char *set)
{
    return strcmp(call->function, function) == 0 && (!set || strcmp(call->set, set) == 0) && same_part(call->args, args)
           && same_part(call->kwargs, kwargs);
}

const char *svl_call_answer(const char *id, const char *node, svl_outcome_e outcome, const char *result, const char *detail,
                            int duplicate, apr_pool_t *p, apr_size_t *length)
{
    int ok = outcome == SVL_OUTCOME_OK;
    const char *answer = apr_pstrcat(p, "{\"id\":", svl_json_quote(id, p), ",\"node\":", svl_json_quote(node, p),
                                     ",\"outcome\":\"", svl_call_outcome_name(outcome), "\"", ok ? ",\"result\":" : "",
                                     !ok      ? ""
                                     : result ? result
                                              : "null",
                                     detail ? ",\"detail\":" : "", detail ? svl_json_quote(detail, p) : "",
                                     duplicate ? ",\"duplicate\":true}" : "}", NULL);

    *length = strlen(answer);
    return answer;
}
