/* SPDX-License-Identifier: Apache-2.0 */
/* What the core promises when memory lacks: what it says is right or it says nothing, and it goes on once there is memory. */
#include "alloc.h"

#include "../../mod_serviceless/core/call.h"
#include "../../mod_serviceless/core/json.h"
#include "../../mod_serviceless/core/message.h"
#include "../../mod_serviceless/core/outcome.h"
#include "../../mod_serviceless/core/pool.h"
#include "../../mod_serviceless/core/sign.h"
#include "../../mod_serviceless/core/sync.h"

#define RING "a whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw relay call=x.*\nb whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
#define STREAM "a/all/0123456789abcdef"
#define CALL "{'function':'f','args':[1,'two',[3.5]],'kwargs':{'k':{'l':null}}}"
#define USUAL_CALL "{'function':'f','args':[1,'two',[3]],'kwargs':{'k':{'l':null}}}" /* which needs no JSON library */

/* A part of the core at work.  @return what it says, or NULL when it says that it failed */
typedef const char *work_t(apr_pool_t *p);

static const char *sign_and_verify(apr_pool_t *p)
{
    char signature[SVL_SIGN_HEADER_MAX];
    svl_sign_headers_t headers = {.id = "c1", .timestamp = "1700000000", .signature = signature};
    const svl_ring_t *ring;
    const svl_key_t *key;
    svl_signer_t *signer;
    const char *error;

    if (svl_ring_parse(&ring, RING, strlen(RING), &error, p) || svl_sign_create(&signer, ring, p)
        || svl_sign_make(signer, NULL, "c1", 1700000000, "{}", 2, signature)
        || svl_sign_verify(signer, &headers, NULL, "{}", 2, 1700000000, 300, &key, NULL, p)) {
        return NULL;
    }
    return apr_pstrcat(p, signature, key->id, key->fingerprint, NULL);
}

/* A forged request must not pass, whatever fails. */
static const char *refuse_forgery(apr_pool_t *p)
{
    svl_sign_headers_t headers = {"c1", "1700000000", "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 0};
    const svl_ring_t *ring;
    const svl_key_t *key;
    svl_signer_t *signer;
    const char *error;
    svl_fault_t fault;

    if (svl_ring_parse(&ring, RING, strlen(RING), &error, p) || svl_sign_create(&signer, ring, p)) {
        return NULL;
    }
    ALLOC_REQUIRE(svl_sign_verify(signer, &headers, NULL, "{}", 2, 1700000000, 300, &key, &fault, p) == SVL_EREFUSED && !key);
    return "refused";
}

static const char *take(const char *text, apr_pool_t *p)
{
    const char *body = unit_json(p, text);
    char stamp[SVL_CALL_STAMP_MAX + 1];
    svl_call_request_t *request;
    svl_call_draft_t draft;
    svl_call_line_t *call;
    apr_size_t length;

    if (svl_call_parse_request(&request, body, strlen(body), "c1", NULL, p)
        || svl_call_draft(&draft, "c1", request->function, request->args, request->kwargs, "a", "all", 1700000000000, 60, p)) {
        return NULL;
    }
    stamp[svl_call_stamp(stamp, "0123456789abcdef", 7)] = '\0';
    body = apr_pstrcat(p, draft.head, stamp, draft.tail, NULL);
    if (svl_call_parse_line(&call, body, strlen(body), NULL, p)) {
        return NULL;
    }
    ALLOC_REQUIRE(svl_call_equal(call, request->function, request->args, request->kwargs, "all"));
    return apr_pstrcat(p, body, svl_call_answer("c1", "a", SVL_OUTCOME_OK, "6", "words", 1, p, &length), NULL);
}

static const char *take_call(apr_pool_t *p)
{
    return take(CALL, p);
}

static const char *take_usual_call(apr_pool_t *p)
{
    return take(USUAL_CALL, p);
}

/* What is left out of a call is empty, not missing. */
static const char *take_bare_call(apr_pool_t *p)
{
    const char *body = unit_json(p, "{'function':'f'}");
    svl_call_request_t *request;

    if (svl_call_parse_request(&request, body, strlen(body), "c1", NULL, p)) {
        return NULL;
    }
    ALLOC_REQUIRE(json_is_array(request->args) && json_is_object(request->kwargs));
    return request->function;
}

static const char *read_message(apr_pool_t *p)
{
    const char *const route[] = {"b", "c"};
    apr_size_t length;
    const char *head = svl_message_relay_line("a", route, 2, 1, -1, p, &length);
    const char *body = apr_pstrcat(p, head, "{}\n[]\n", NULL);
    svl_message_ack_t ack = {.from = "b", .accepted = 1, .duplicates = 2, .nodes = apr_array_make(p, 1, sizeof(const char *))};
    svl_message_ack_t *again;
    svl_message_t *message;
    const char *text;

    APR_ARRAY_PUSH(ack.nodes, const char *) = "x";
    text = svl_message_write_ack(&ack, p, &length);
    if (svl_message_parse(&message, body, strlen(body), NULL, p) || svl_message_parse_ack(&again, text, length, NULL, p)) {
        return NULL;
    }
    ALLOC_REQUIRE(message->groups->nelts == 1 && APR_ARRAY_IDX(message->groups, 0, svl_message_group_t).calls->nelts == 2);
    ALLOC_REQUIRE(APR_ARRAY_IDX(message->groups, 0, svl_message_group_t).route->nelts == 2 && again->nodes->nelts == 1);
    return apr_pstrcat(p, message->from, text, NULL);
}

static const char *compare_vectors(apr_pool_t *p)
{
    const char *text =
        unit_json(p, "{'sync':{'from':'a','vector':{'" STREAM "':[17,[[19,22]]],'b/all/0123456789abcdef':[5,[]]}}}");
    svl_message_t *message;
    svl_sync_line_t *line;
    apr_size_t length;
    char digest[65];

    if (svl_message_parse(&message, text, strlen(text), NULL, p) || svl_sync_parse(&line, message, NULL, p)
        || svl_vector_digest(line->vector, digest, p)) {
        return NULL;
    }
    line->digest = digest;
    ALLOC_REQUIRE(svl_sync_lacks(line->vector, NULL, apr_hash_make(p), line, NULL, p)->nelts == 2);
    return svl_sync_write(line, p, &length);
}

static const char *hand_on_outcome(apr_pool_t *p)
{
    const char *text = unit_json(p, "{'from':'b','outcome':'ok','result':{'deep':[[1,2.5,'x']]},'detail':'words','ms':0.25}");
    svl_outcome_t outcome;
    apr_size_t length;

    if (svl_outcome_parse(&outcome, text, strlen(text), NULL, p)) {
        return NULL;
    }
    return svl_outcome_write_all(&outcome, 1, SVL_OUTCOME_ALL_MAX, p, &length);
}

/* More than one block of writing. */
static const char *write_much(apr_pool_t *p)
{
    const char *text = apr_pstrcat(p, "[", unit_repeat(p, "{\"a\":[0.1]},", 3), "\"", unit_repeat(p, "x", 4000), "\"]", NULL);
    apr_size_t length;
    json_t *json;

    return svl_json_parse(&json, text, strlen(text), NULL, p) ? NULL : svl_json_write(json, p, &length);
}

static const char *make_names(apr_pool_t *p)
{
    char id[SVL_NAME_ID_MAX + 1];
    char epoch[SVL_NAME_EPOCH + 1];
    const char *line;
    const char *error;

    if (svl_name_make_id(id, 1700000000000000) || svl_name_make_epoch(epoch)
        || svl_ring_generate(&line, "k", NULL, &error, p)) {
        return NULL;
    }
    ALLOC_REQUIRE(svl_name_is_id(id, strlen(id)) && svl_name_is_epoch(epoch, strlen(epoch)));
    return apr_psprintf(p, "%d", (int)strlen(line));
}

static const char *make_shared_pool(apr_pool_t *p)
{
    apr_pool_t *pool;

    if (svl_pool_create(&pool)) {
        return NULL;
    }
    apr_palloc(pool, 100000);
    apr_pool_destroy(pool);
    return apr_pstrdup(p, "made");
}

static apr_pool_t *make_pool(void)
{
    apr_pool_t *p;

    apr_pool_create_unmanaged_ex(&p, alloc_lack, NULL);
    return p;
}

typedef struct part_t {
    work_t *work;
    const char *expected;
} part_t;

static int run_part(void *baton)
{
    const part_t *part = baton;
    const char *said;
    apr_pool_t *p;
    int failed;

    alloc_arm(alloc_number);
    p = make_pool();
    said = part->work(p);
    failed = alloc_disarm();
    ALLOC_REQUIRE(failed && alloc_how != ALLOC_MISLEADS ? !said || strcmp(said, part->expected) == 0
                                                        : said && strcmp(said, part->expected) == 0);
    apr_pool_destroy(p);
    p = make_pool();
    said = part->work(p);
    ALLOC_REQUIRE(said && strcmp(said, part->expected) == 0);
    apr_pool_destroy(p);
    return failed ? ALLOC_TOLD : ALLOC_PASSED;
}

/* The libraries have set themselves up before, as in httpd's parent: what they do not get then, no later call gets. */
static void sweep(void **state, const char *name, work_t *work)
{
    part_t part = {work, work(*state)};

    assert_non_null(part.expected);
    for (alloc_how = ALLOC_FAILS; alloc_how <= ALLOC_MISLEADS; alloc_how++) {
        assert_in_range(alloc_sweep(name, run_part, NULL, &part), 1, 10000);
    }
}

#define SWEEP(work)                                                                                                            \
    static void sweep_##work(void **state)                                                                                     \
    {                                                                                                                          \
        sweep(state, #work, work);                                                                                             \
    }

SWEEP(sign_and_verify)
SWEEP(refuse_forgery)
SWEEP(take_call)
SWEEP(take_usual_call)
SWEEP(take_bare_call)
SWEEP(read_message)
SWEEP(compare_vectors)
SWEEP(hand_on_outcome)
SWEEP(write_much)
SWEEP(make_names)
SWEEP(make_shared_pool)

int main(void)
{
    const struct CMUnitTest promises[] = {
        PROMISE("keys and signatures", sweep_sign_and_verify),
        PROMISE("a forged request is refused", sweep_refuse_forgery),
        PROMISE("a call and its line", sweep_take_call),
        PROMISE("a usual call and its line", sweep_take_usual_call),
        PROMISE("a call without args and kwargs", sweep_take_bare_call),
        PROMISE("messages and acknowledgements", sweep_read_message),
        PROMISE("vectors and sync lines", sweep_compare_vectors),
        PROMISE("outcomes", sweep_hand_on_outcome),
        PROMISE("JSON", sweep_write_much),
        PROMISE("ids, epochs and keys", sweep_make_names),
        PROMISE("pools for threads", sweep_make_shared_pool),
    };

    if (alloc_left_out()) {
        return 0;
    }
    apr_initialize();
    svl_pool_on_lack(alloc_lack);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(promises, NULL, NULL);
}
