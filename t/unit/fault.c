/* SPDX-License-Identifier: Apache-2.0 */
#include "../../mod_serviceless/core/fault.h"

#include "../../mod_serviceless/core/json.h"
#include "../../mod_serviceless/core/log.h"
#include "unit.h"

/* PROTOCOL, Status codes */
static const struct {
    svl_reason_e reason;
    int http;
    const char *title;
} codes[] = {
    {SVL_REASON_NO_NODE, 404, "Not Found"},
    {SVL_REASON_PATH, 404, "Not Found"},
    {SVL_REASON_METHOD, 405, "Method Not Allowed"},
    {SVL_REASON_CONTENT_TYPE, 415, "Unsupported Media Type"},
    {SVL_REASON_CONTENT_ENCODING, 415, "Unsupported Media Type"},
    {SVL_REASON_BODY_SLOW, 408, "Request Timeout"},
    {SVL_REASON_BODY_TRUNCATED, 400, "Bad Request"},
    {SVL_REASON_BODY_TOO_LARGE, 413, "Content Too Large"},
    {SVL_REASON_HEADER, 401, "Unauthorized"},
    {SVL_REASON_TIMESTAMP, 401, "Unauthorized"},
    {SVL_REASON_SIGNATURE, 401, "Unauthorized"},
    {SVL_REASON_JSON, 400, "Bad Request"},
    {SVL_REASON_CALL, 400, "Bad Request"},
    {SVL_REASON_MESSAGE, 400, "Bad Request"},
    {SVL_REASON_PERMISSION, 403, "Forbidden"},
    {SVL_REASON_UNKNOWN_FUNCTION, 404, "Not Found"},
    {SVL_REASON_UNKNOWN_SET, 400, "Bad Request"},
    {SVL_REASON_CONFLICT, 409, "Conflict"},
    {SVL_REASON_STREAM_CONFLICT, 409, "Conflict"},
    {SVL_REASON_NOT_IN_SET, 409, "Conflict"},
    {SVL_REASON_TOO_OLD, 422, "Unprocessable Content"},
    {SVL_REASON_STORE_FULL, 503, "Service Unavailable"},
    {SVL_REASON_STORE_FAILED, 503, "Service Unavailable"},
    {SVL_REASON_BUSY, 503, "Service Unavailable"},
    {SVL_REASON_STOPPING, 503, "Service Unavailable"},
};

static void each_reason_has_its_status_and_title(void **state)
{
    (void)state;
    assert_int_equal(UNIT_COUNT(codes), SVL_REASON_COUNT - 1);
    for (size_t i = 0; i < UNIT_COUNT(codes); i++) {
        assert_int_equal(svl_fault_http(codes[i].reason), codes[i].http);
        assert_string_equal(svl_fault_title(codes[i].reason), codes[i].title);
    }
}

static void labels_are_short_words_and_differ(void **state)
{
    (void)state;
    for (int i = 0; i < SVL_REASON_COUNT; i++) {
        const char *name = svl_fault_name((svl_reason_e)i);

        assert_true(strlen(name) > 0 && strspn(name, "abcdefghijklmnopqrstuvwxyz-") == strlen(name));
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(name, svl_fault_name((svl_reason_e)j));
        }
    }
}

static void a_fault_without_a_reason_is_never_a_success(void **state)
{
    (void)state;
    assert_int_equal(svl_fault_http(SVL_REASON_NONE), 500);
    assert_int_equal(svl_fault_http(SVL_REASON_COUNT), 500);
    assert_int_equal(svl_fault_http((svl_reason_e)-1), 500);
    assert_string_equal(svl_fault_name((svl_reason_e)12345), "none");
    assert_string_equal(svl_fault_title((svl_reason_e)12345), "Internal Server Error");
}

static void every_document_is_the_problem_of_its_reason(void **state)
{
    apr_pool_t *p = *state;

    for (int i = 0; i < SVL_REASON_COUNT; i++) {
        svl_fault_t fault = {(svl_reason_e)i, NULL};
        apr_size_t length;
        const char *text = svl_fault_document(&fault, p, &length);
        json_t *json;

        assert_int_equal(strlen(text), length);
        assert_int_equal(svl_json_parse(&json, text, length, NULL, p), APR_SUCCESS);
        assert_int_equal(json_object_size(json), 4);
        assert_string_equal(json_string_value(json_object_get(json, "type")), "about:blank");
        assert_string_equal(json_string_value(json_object_get(json, "title")), svl_fault_title(fault.reason));
        assert_int_equal(json_integer_value(json_object_get(json, "status")), svl_fault_http(fault.reason));
        assert_true(json_string_length(json_object_get(json, "detail")) > 0);
    }
}

static void the_document_of_401_is_one_constant_text(void **state)
{
    static const svl_reason_e reasons[] = {SVL_REASON_HEADER, SVL_REASON_TIMESTAMP, SVL_REASON_SIGNATURE};
    static const char *const details[] = {NULL, "webhook-id is missing", "no key made the signature of x"};
    svl_fault_t fault = {SVL_REASON_SIGNATURE, NULL};
    apr_size_t length;
    const char *constant = svl_fault_document(&fault, *state, &length);

    for (size_t i = 0; i < UNIT_COUNT(reasons); i++) {
        for (size_t j = 0; j < UNIT_COUNT(details); j++) {
            fault = (svl_fault_t){reasons[i], details[j]};
            assert_string_equal(svl_fault_document(&fault, *state, &length), constant);
        }
    }
}

static void other_details_reach_the_document_escaped(void **state)
{
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    apr_size_t length;

    assert_int_equal(svl_fault_set(&fault, SVL_REASON_CALL, *state, "a call has no member \"%s\"", "x\r\n\x1b<\xff"),
                     SVL_EREFUSED);
    assert_int_equal(fault.reason, SVL_REASON_CALL);
    assert_string_equal(fault.detail, "a call has no member \"x\\x0d\\x0a\\x1b<\\xff\"");
    assert_string_equal(svl_fault_document(&fault, *state, &length),
                        "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
                        "\"detail\":\"a call has no member \\\"x\\\\x0d\\\\x0a\\\\x1b<\\\\xff\\\"\"}");
}

static void details_are_bounded(void **state)
{
    svl_fault_t fault;

    svl_fault_set(&fault, SVL_REASON_CALL, *state, "%s", unit_repeat(*state, "\n", 1000000));
    assert_true(strlen(fault.detail) <= 4096);
}

static void a_caller_may_not_care_why(void **state)
{
    assert_int_equal(svl_fault_set(NULL, SVL_REASON_CALL, *state, "%d", 1), SVL_EREFUSED);
}

static void own_statuses_have_texts(void **state)
{
    static const apr_status_t own[] = {SVL_EREFUSED, SVL_EFULL, SVL_EDAMAGED, SVL_EOWNER, SVL_ESTOPPING};
    char texts[UNIT_COUNT(own)][120];
    char theirs[120];
    char tiny[4];

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(own); i++) {
        assert_ptr_equal(svl_fault_strerror(own[i], texts[i], sizeof(texts[i])), texts[i]);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(texts[i], texts[j]);
        }
    }
    apr_strerror(APR_ENOENT, theirs, sizeof(theirs));
    assert_string_equal(svl_fault_strerror(APR_ENOENT, texts[0], sizeof(texts[0])), theirs);
    assert_int_equal(strlen(svl_fault_strerror(SVL_EFULL, tiny, sizeof(tiny))), 3);
}

static void escaped_text_is_printable_ascii(void **state)
{
    char all[256];

    for (int i = 0; i < 255; i++) {
        all[i] = (char)(i + 1);
    }
    all[255] = '\0';
    assert_true(unit_is_printable(svl_log_escape(*state, all, sizeof(all))));
    assert_string_equal(svl_log_escape(*state, "GET \r\n\x1b[0m\x7f\xc3\xa9", 64), "GET \\x0d\\x0a\\x1b[0m\\x7f\\xc3\\xa9");
    assert_string_equal(svl_log_escape(*state, NULL, 64), "");
    assert_string_equal(svl_log_escape(*state, "abcdef", 3), "abc");
    assert_string_equal(svl_log_escape(*state, unit_exact(*state, "\xff\xff", 2), 2), "\\xff\\xff");
    assert_string_equal(svl_log_escape(*state, svl_log_escape(*state, "a\nb", 9), 99), "a\\x0ab"); /* twice is once */
}

typedef struct lines_t {
    int count;
    int line;
    svl_log_level_e level;
    apr_status_t status;
    char text[2048];
} lines_t;

static void keep(void *baton, const char *file, int line, svl_log_level_e level, apr_status_t status, const char *text)
{
    lines_t *lines = baton;

    assert_string_equal(file, "here.c");
    lines->count++;
    lines->line = line;
    lines->level = level;
    lines->status = status;
    apr_cpystrn(lines->text, text, sizeof(lines->text));
}

static int is_enabled(void *baton, svl_log_level_e level)
{
    return baton && level <= SVL_LOG_NOTICE;
}

static void log_lines_arrive_formatted_bounded_and_only_when_enabled(void **state)
{
    lines_t lines = {0};
    svl_log_t every = {keep, NULL, &lines};
    svl_log_t some = {keep, is_enabled, &lines};

    svl_log_write(NULL, "here.c", 1, SVL_LOG_ERR, APR_SUCCESS, "nobody listens");
    svl_log_write(&some, "here.c", 2, SVL_LOG_DEBUG, APR_SUCCESS, "not wanted");
    assert_int_equal(lines.count, 0);
    svl_log_write(&some, "here.c", 3, SVL_LOG_NOTICE, APR_EOF, "%s of %d", "one", 2);
    assert_int_equal(lines.count, 1);
    assert_int_equal(lines.line, 3);
    assert_int_equal(lines.level, SVL_LOG_NOTICE);
    assert_int_equal(lines.status, APR_EOF);
    assert_string_equal(lines.text, "one of 2");
    svl_log_write(&every, "here.c", 4, SVL_LOG_DEBUG, APR_SUCCESS, "%s", unit_repeat(*state, "x", 5000));
    assert_int_equal(strlen(lines.text), 1023);
}

static const struct CMUnitTest promises[] = {
    PROMISE("each reason has its status and title", each_reason_has_its_status_and_title),
    PROMISE("labels are short words and differ", labels_are_short_words_and_differ),
    PROMISE("a fault without a reason is never a success", a_fault_without_a_reason_is_never_a_success),
    PROMISE("every document is the problem of its reason", every_document_is_the_problem_of_its_reason),
    PROMISE("the document of 401 is one constant text", the_document_of_401_is_one_constant_text),
    PROMISE("other details reach the document escaped", other_details_reach_the_document_escaped),
    PROMISE("details are bounded", details_are_bounded),
    PROMISE("a caller may not care why", a_caller_may_not_care_why),
    PROMISE("own statuses have texts", own_statuses_have_texts),
    PROMISE("escaped text is printable ASCII", escaped_text_is_printable_ascii),
    PROMISE("log lines arrive formatted, bounded, and only when enabled",
            log_lines_arrive_formatted_bounded_and_only_when_enabled),
};

UNIT_MAIN(promises)
