/* SPDX-License-Identifier: Apache-2.0 */
#include "../../mod_serviceless/core/sign.h"

#include "unit.h"

#define NOW INT64_C(1700000000)
#define STAMP "1700000000"
#define TOLERANCE 300
#define BODY "{\"function\":\"ping\"}"
#define FOREIGN "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" /* well formed, and of nobody */

static const char ring_text[] = "fleet whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"
                                "next whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
                                "ops whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3 call\n";

static svl_signer_t *make_signer(apr_pool_t *p, const char *text, const svl_ring_t **ring)
{
    svl_signer_t *signer;
    const svl_ring_t *parsed;
    const char *error;

    assert_int_equal(svl_ring_parse(&parsed, text, strlen(text), &error, p), APR_SUCCESS);
    assert_int_equal(svl_sign_create(&signer, parsed, p), APR_SUCCESS);
    if (ring) {
        *ring = parsed;
    }
    return signer;
}

static const char *sign(apr_pool_t *p, svl_signer_t *signer, const svl_key_t *key, const char *id)
{
    char *signature = apr_palloc(p, SVL_SIGN_HEADER_MAX);

    assert_int_equal(svl_sign_make(signer, key, id, NOW, BODY, strlen(BODY), signature), APR_SUCCESS);
    return signature;
}

/* @return the reason of the refusal, or SVL_REASON_NONE when the signature holds */
static svl_reason_e verdict(apr_pool_t *p, svl_signer_t *signer, const char *id, const char *timestamp, const char *signature)
{
    svl_sign_headers_t headers = {id, timestamp, signature, 0};
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    const svl_key_t *key = (const svl_key_t *)p;
    apr_status_t status = svl_sign_verify(signer, &headers, NULL, unit_exact(p, BODY, strlen(BODY)), strlen(BODY), NOW,
                                          TOLERANCE, &key, &fault, p);

    assert_int_equal(status, fault.reason == SVL_REASON_NONE ? APR_SUCCESS : SVL_EREFUSED);
    assert_int_equal(key != NULL, fault.reason == SVL_REASON_NONE);
    assert_true(!fault.detail || unit_is_printable(fault.detail));
    return fault.reason;
}

static void the_vectors_of_the_protocol_hold(void **state)
{
    static const struct {
        const char *id;
        apr_int64_t seconds;
        const char *body;
        const char *signature;
    } vectors[] = {
        {"msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}",
         "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {"c1", 1700000000,
         "{\"id\":\"c1\",\"function\":\"ping\",\"args\":[1],\"kwargs\":{},\"origin\":\"node-a\",\"route\":[\"node-a\"]}",
         "v1,8R+hDSby8QilLHpRtWD8B/EheI/SRrGeEcPtDtYnJ/s="},
    };
    svl_signer_t *signer = make_signer(*state, ring_text, NULL);

    for (size_t i = 0; i < UNIT_COUNT(vectors); i++) {
        const char *timestamp = apr_psprintf(*state, "%" APR_INT64_T_FMT, vectors[i].seconds);
        svl_sign_headers_t headers = {vectors[i].id, timestamp, vectors[i].signature, 0};
        char signature[SVL_SIGN_HEADER_MAX];
        const svl_key_t *key;

        assert_int_equal(
            svl_sign_make(signer, NULL, vectors[i].id, vectors[i].seconds, vectors[i].body, strlen(vectors[i].body), signature),
            APR_SUCCESS);
        assert_string_equal(signature, vectors[i].signature);
        assert_int_equal(svl_sign_verify(signer, &headers, NULL, vectors[i].body, strlen(vectors[i].body), vectors[i].seconds,
                                         1, &key, NULL, *state),
                         APR_SUCCESS);
        assert_string_equal(key->id, "fleet");
    }
}

static void whichever_key_signed_is_found(void **state)
{
    const svl_ring_t *ring;
    svl_signer_t *signer = make_signer(*state, ring_text, &ring);

    for (int i = 0; i < ring->keys->nelts; i++) {
        const svl_key_t *signing = APR_ARRAY_IDX(ring->keys, i, const svl_key_t *);
        svl_sign_headers_t headers = {"c1", STAMP, sign(*state, signer, signing, "c1"), 0};
        const svl_key_t *key;

        assert_int_equal(svl_sign_verify(signer, &headers, NULL, BODY, strlen(BODY), NOW, 0, &key, NULL, *state), APR_SUCCESS);
        assert_ptr_equal(key, signing);
    }
}

static void of_several_keys_the_first_of_the_ring_is_told(void **state)
{
    const svl_ring_t *ring;
    svl_signer_t *signer = make_signer(*state, ring_text, &ring);
    const char *first = sign(*state, signer, NULL, "c1");
    const char *last = sign(*state, signer, svl_ring_find(ring, "ops"), "c1");
    svl_sign_headers_t headers = {"c1", STAMP, apr_pstrcat(*state, last, " ", first, NULL), 0};
    const svl_key_t *key;

    assert_int_equal(svl_sign_verify(signer, &headers, NULL, BODY, strlen(BODY), NOW, 0, &key, NULL, *state), APR_SUCCESS);
    assert_string_equal(key->id, "fleet");
}

static void a_removed_key_is_refused_and_does_not_sign(void **state)
{
    const svl_ring_t *ring;
    svl_signer_t *before = make_signer(*state, ring_text, &ring);
    svl_signer_t *after = make_signer(*state, strchr(ring_text, '\n') + 1, NULL);
    char signature[SVL_SIGN_HEADER_MAX];

    assert_int_equal(verdict(*state, after, "c1", STAMP, sign(*state, before, NULL, "c1")), SVL_REASON_SIGNATURE);
    assert_int_equal(svl_sign_make(after, ring->signer, "c1", NOW, BODY, strlen(BODY), signature), APR_EINVAL);
}

static void a_message_says_the_fingerprint_of_the_key_that_signs_it(void **state)
{
    const svl_ring_t *ring;
    svl_signer_t *signer = make_signer(*state, ring_text, &ring);

    assert_string_equal(svl_sign_fingerprint(signer), ring->signer->fingerprint);
    signer =
        make_signer(*state, apr_pstrcat(*state, "caller whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB call\n", ring_text, NULL), NULL);
    assert_string_equal(svl_sign_fingerprint(signer), ring->signer->fingerprint);
}

static void every_bit_of_body_id_and_timestamp_is_signed(void **state)
{
    svl_signer_t *signer = make_signer(*state, ring_text, NULL);
    const char *signature = sign(*state, signer, NULL, "c1");
    svl_sign_headers_t headers = {"c1", STAMP, signature, 0};
    char body[] = BODY;
    const svl_key_t *key;

    for (size_t bit = 0; bit < strlen(BODY) * 8; bit++) {
        svl_fault_t fault = {SVL_REASON_NONE, NULL};

        body[bit / 8] ^= (char)(1 << bit % 8);
        svl_sign_verify(signer, &headers, NULL, body, strlen(BODY), NOW, 300, &key, &fault, *state);
        assert_int_equal(fault.reason, SVL_REASON_SIGNATURE);
        body[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t length = 0; length < strlen(BODY); length++) {
        assert_int_equal(svl_sign_verify(signer, &headers, NULL, body, length, NOW, 300, &key, NULL, *state), SVL_EREFUSED);
    }
    assert_int_equal(verdict(*state, signer, "c2", STAMP, signature), SVL_REASON_SIGNATURE);
    assert_int_equal(verdict(*state, signer, "c", STAMP, signature), SVL_REASON_SIGNATURE);
    assert_int_equal(verdict(*state, signer, "c1", "1700000001", signature), SVL_REASON_SIGNATURE);
    assert_int_equal(verdict(*state, signer, "c1", STAMP, signature), SVL_REASON_NONE);
}

/* THREATS 8 */
static void each_header_comes_exactly_once(void **state)
{
    svl_signer_t *signer = make_signer(*state, ring_text, NULL);
    const char *signature = sign(*state, signer, NULL, "c1");
    svl_sign_headers_t twice = {"c1", STAMP, signature, 1};
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    const svl_key_t *key;

    assert_int_equal(verdict(*state, signer, NULL, STAMP, signature), SVL_REASON_HEADER);
    assert_int_equal(verdict(*state, signer, "c1", NULL, signature), SVL_REASON_HEADER);
    assert_int_equal(verdict(*state, signer, "c1", STAMP, NULL), SVL_REASON_HEADER);
    assert_int_equal(verdict(*state, signer, "", STAMP, signature), SVL_REASON_HEADER);
    assert_int_equal(verdict(*state, signer, "c1", "", signature), SVL_REASON_HEADER);
    assert_int_equal(verdict(*state, signer, "c1", STAMP, ""), SVL_REASON_HEADER);
    svl_sign_verify(signer, &twice, NULL, BODY, strlen(BODY), NOW, TOLERANCE, &key, &fault, *state);
    assert_int_equal(fault.reason, SVL_REASON_HEADER);
}

static void ids_with_a_dot_too_long_or_hostile_are_refused(void **state)
{
    svl_signer_t *signer = make_signer(*state, ring_text, NULL);
    const char *longest = unit_repeat(*state, "i", 64);

    assert_int_equal(verdict(*state, signer, longest, STAMP, sign(*state, signer, NULL, longest)), SVL_REASON_NONE);
    longest = unit_repeat(*state, "i", 65);
    assert_int_equal(verdict(*state, signer, longest, STAMP, sign(*state, signer, NULL, longest)), SVL_REASON_HEADER);
    assert_int_equal(verdict(*state, signer, "a.b", STAMP, sign(*state, signer, NULL, "a.b")), SVL_REASON_HEADER);
    assert_int_equal(verdict(*state, signer, "c1:a", STAMP, sign(*state, signer, NULL, "c1:a")), SVL_REASON_HEADER);
    for (size_t i = 0; i < UNIT_COUNT(unit_hostile_names); i++) {
        const char *id = unit_hostile_names[i];

        assert_int_equal(verdict(*state, signer, id, STAMP, sign(*state, signer, NULL, id)), SVL_REASON_HEADER);
    }
}

static void a_timestamp_is_ten_digits_and_nothing_else(void **state)
{
    /* clang-format off */
    static const char *const wrong[] = {
        "+1700000000", "+170000000", "-170000000", " 1700000000", " 170000000", "1700000000 ", "170000000 ", "1700000000.9",
        "17000000.9", "1700000000junk", "170000000x", "0x65538000", "0x6553800", "0700000000", "170000000", "17000000000",
        "1.7e9", "1700000000\n", "\t1700000000", "1700000000,1700000000", "\xd9\xa1\xd9\xa7", "1_00000000", "17000000\xb2\xb3",
    };
    /* clang-format on */
    svl_signer_t *signer = make_signer(*state, ring_text, NULL);
    const char *signature = sign(*state, signer, NULL, "c1");

    for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
        assert_int_equal(verdict(*state, signer, "c1", wrong[i], signature), SVL_REASON_HEADER);
    }
}

/* THREATS 3 */
static void the_tolerance_holds_either_way_to_the_second(void **state)
{
    /* clang-format off */
    static const struct {
        apr_int64_t ahead;
        svl_reason_e reason;
    } clocks[] = {
        {0, SVL_REASON_NONE}, {300, SVL_REASON_NONE}, {-300, SVL_REASON_NONE}, {301, SVL_REASON_TIMESTAMP},
        {-301, SVL_REASON_TIMESTAMP}, {INT64_C(8299999999), SVL_REASON_TIMESTAMP},
        {INT64_C(-699999999), SVL_REASON_TIMESTAMP},
    };
    /* clang-format on */
    svl_signer_t *signer = make_signer(*state, ring_text, NULL);
    char signature[SVL_SIGN_HEADER_MAX];

    for (size_t i = 0; i < UNIT_COUNT(clocks); i++) {
        assert_int_equal(svl_sign_make(signer, NULL, "c1", NOW + clocks[i].ahead, BODY, strlen(BODY), signature), APR_SUCCESS);
        assert_int_equal(
            verdict(*state, signer, "c1", apr_psprintf(*state, "%" APR_INT64_T_FMT, NOW + clocks[i].ahead), signature),
            clocks[i].reason);
    }
}

static void headers_are_judged_before_the_time_and_the_time_before_the_signature(void **state)
{
    svl_signer_t *signer = make_signer(*state, ring_text, NULL);

    assert_int_equal(verdict(*state, signer, "c1", "1600000000", "v1,x"), SVL_REASON_HEADER);
    assert_int_equal(verdict(*state, signer, "c1", "1600000000", FOREIGN), SVL_REASON_TIMESTAMP);
    assert_int_equal(verdict(*state, signer, "c1", STAMP, FOREIGN), SVL_REASON_SIGNATURE);
}

/* THREATS 9 */
static void one_valid_signature_among_eight_is_enough_wherever_it_stands(void **state)
{
    svl_signer_t *signer = make_signer(*state, ring_text, NULL);
    const char *valid = sign(*state, signer, NULL, "c1");

    for (int count = 1; count <= 9; count++) {
        for (int at = 0; at < count; at++) {
            const char *header = "";

            for (int i = 0; i < count; i++) {
                header = apr_pstrcat(*state, header, i ? " " : "", i == at ? valid : FOREIGN, NULL);
            }
            assert_int_equal(verdict(*state, signer, "c1", STAMP, header), count <= 8 ? SVL_REASON_NONE : SVL_REASON_HEADER);
        }
    }
}

static void malformed_signatures_are_refused_even_beside_a_valid_one(void **state)
{
    svl_signer_t *signer = make_signer(*state, ring_text, NULL);
    const char *valid = sign(*state, signer, NULL, "c1");
    const char *mac = valid + 3;
    char *bits = apr_pstrdup(*state, valid);
    /* clang-format off */
    const char *wrong[] = {
        apr_pstrcat(*state, valid, ",x", NULL), apr_pstrcat(*state, valid, " ", NULL), apr_pstrcat(*state, " ", valid, NULL),
        apr_pstrcat(*state, valid, "  ", valid, NULL), apr_pstrcat(*state, valid, "\t", valid, NULL),
        apr_pstrcat(*state, valid, ",", valid, NULL), apr_pstrcat(*state, valid, "=", NULL),
        apr_pstrmemdup(*state, valid, 46), apr_pstrcat(*state, "v1=", mac, NULL), apr_pstrcat(*state, "v1,", NULL), "v1",
        ",", "v1,,", mac, apr_pstrcat(*state, ",", mac, NULL), apr_pstrcat(*state, "v 1,", mac, NULL),
        apr_pstrcat(*state, "v1,", mac, "\n", NULL), "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "v1,83484cf52b04f8e4cf2531adfed9882ad4b2665137b852442d594d20e2c9d4e1",
        "v1,____AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
        "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "v1,====AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "v2,a,b",
        "junk", bits,
    };
    /* clang-format on */

    bits[45]++; /* the same bytes, spelt otherwise */
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
        assert_int_equal(verdict(*state, signer, "c1", STAMP, wrong[i]), SVL_REASON_HEADER);
        assert_int_equal(verdict(*state, signer, "c1", STAMP, apr_pstrcat(*state, valid, " ", wrong[i], NULL)),
                         SVL_REASON_HEADER);
    }
}

static void other_versions_are_ignored_and_none_left_is_refused(void **state)
{
    svl_signer_t *signer = make_signer(*state, ring_text, NULL);
    const char *valid = sign(*state, signer, NULL, "c1");
    const char *mac = valid + 3;
    const char *others[] = {
        apr_pstrcat(*state, "v0,", mac, NULL),     apr_pstrcat(*state, "v1a,", mac, NULL),
        apr_pstrcat(*state, "V1,", mac, NULL),     apr_pstrcat(*state, "v11,", mac, NULL),
        apr_pstrcat(*state, "sha1,", mac, NULL),   "v2,short",
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw==",
    };

    for (size_t i = 0; i < UNIT_COUNT(others); i++) {
        assert_int_equal(verdict(*state, signer, "c1", STAMP, others[i]), SVL_REASON_HEADER);
        assert_int_equal(verdict(*state, signer, "c1", STAMP, apr_pstrcat(*state, others[i], " ", valid, NULL)),
                         SVL_REASON_NONE);
        assert_int_equal(verdict(*state, signer, "c1", STAMP, apr_pstrcat(*state, valid, " ", others[i], NULL)),
                         SVL_REASON_NONE);
    }
}

static svl_reason_e answer_verdict(apr_pool_t *p, svl_signer_t *signer, const char *id, const char *expected,
                                   const char *signature)
{
    svl_sign_headers_t headers = {id, STAMP, signature, 0};
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    const svl_key_t *key;

    svl_sign_verify(signer, &headers, expected, BODY, strlen(BODY), NOW, TOLERANCE, &key, &fault, p);
    return fault.reason;
}

static void an_answer_is_of_its_request_and_node_and_never_passes_for_a_request(void **state)
{
    svl_signer_t *signer = make_signer(*state, ring_text, NULL);
    const char *answer = sign(*state, signer, NULL, "c1:[::1]:80");
    const char *longest = apr_pstrcat(*state, unit_repeat(*state, "i", 64), ":", unit_repeat(*state, "n", 64), NULL);

    assert_int_equal(answer_verdict(*state, signer, "c1:[::1]:80", "c1:[::1]:80", answer), SVL_REASON_NONE);
    assert_int_equal(answer_verdict(*state, signer, longest, longest, sign(*state, signer, NULL, longest)), SVL_REASON_NONE);
    assert_int_equal(answer_verdict(*state, signer, "c1:[::1]:80", "c2:[::1]:80", answer), SVL_REASON_HEADER);
    assert_int_equal(answer_verdict(*state, signer, "c1:[::1]:80", "c1:[::1]:8", answer), SVL_REASON_HEADER);
    assert_int_equal(answer_verdict(*state, signer, "c2:b", "c2:b", answer), SVL_REASON_SIGNATURE);
    assert_int_equal(answer_verdict(*state, signer, NULL, "c1:b", answer), SVL_REASON_HEADER);
    assert_int_equal(answer_verdict(*state, signer, "c1", "c1:b", sign(*state, signer, NULL, "c1")), SVL_REASON_HEADER);
    assert_int_equal(verdict(*state, signer, "c1:[::1]:80", STAMP, answer), SVL_REASON_HEADER);
}

static void an_empty_body_is_signed_as_well(void **state)
{
    svl_signer_t *signer = make_signer(*state, ring_text, NULL);
    char signature[SVL_SIGN_HEADER_MAX];
    svl_sign_headers_t headers = {"c1", STAMP, signature, 0};
    const svl_key_t *key;

    assert_int_equal(svl_sign_make(signer, NULL, "c1", NOW, NULL, 0, signature), APR_SUCCESS);
    assert_int_equal(svl_sign_verify(signer, &headers, NULL, NULL, 0, NOW, 0, &key, NULL, *state), APR_SUCCESS);
    assert_int_equal(svl_sign_verify(signer, &headers, NULL, "x", 1, NOW, 0, &key, NULL, *state), SVL_EREFUSED);
}

static void mutated_headers_are_refused_and_leave_the_signer_sound(void **state)
{
    svl_signer_t *signer = make_signer(*state, ring_text, NULL);
    const char *valid = sign(*state, signer, NULL, "c1");

    for (int i = 0; i < 20000; i++) {
        apr_pool_t *p;
        char *header;

        apr_pool_create(&p, *state);
        header = apr_pstrdup(p, valid);
        unit_mutate(header, strlen(header));
        if (strcmp(header, valid) != 0) {
            assert_int_not_equal(verdict(p, signer, "c1", STAMP, header), SVL_REASON_NONE);
        }
        apr_pool_destroy(p);
    }
    assert_int_equal(verdict(*state, signer, "c1", STAMP, valid), SVL_REASON_NONE);
}

static const struct CMUnitTest promises[] = {
    PROMISE("the vectors of the protocol hold", the_vectors_of_the_protocol_hold),
    PROMISE("whichever key signed is found", whichever_key_signed_is_found),
    PROMISE("of several keys the first of the ring is told", of_several_keys_the_first_of_the_ring_is_told),
    PROMISE("a removed key is refused and does not sign", a_removed_key_is_refused_and_does_not_sign),
    PROMISE("a message says the fingerprint of the key that signs it", a_message_says_the_fingerprint_of_the_key_that_signs_it),
    PROMISE("every bit of body, id and timestamp is signed", every_bit_of_body_id_and_timestamp_is_signed),
    PROMISE("each header comes exactly once", each_header_comes_exactly_once),
    PROMISE("ids with a dot, too long or hostile are refused", ids_with_a_dot_too_long_or_hostile_are_refused),
    PROMISE("a timestamp is ten digits and nothing else", a_timestamp_is_ten_digits_and_nothing_else),
    PROMISE("the tolerance holds either way to the second", the_tolerance_holds_either_way_to_the_second),
    PROMISE("headers are judged before the time, and the time before the signature",
            headers_are_judged_before_the_time_and_the_time_before_the_signature),
    PROMISE("one valid signature among eight is enough, wherever it stands",
            one_valid_signature_among_eight_is_enough_wherever_it_stands),
    PROMISE("malformed signatures are refused even beside a valid one",
            malformed_signatures_are_refused_even_beside_a_valid_one),
    PROMISE("other versions are ignored, and none left is refused", other_versions_are_ignored_and_none_left_is_refused),
    PROMISE("an answer is of its request and node and never passes for a request",
            an_answer_is_of_its_request_and_node_and_never_passes_for_a_request),
    PROMISE("an empty body is signed as well", an_empty_body_is_signed_as_well),
    PROMISE("mutated headers are refused and leave the signer sound", mutated_headers_are_refused_and_leave_the_signer_sound),
};

UNIT_MAIN(promises)
