/* SPDX-License-Identifier: Apache-2.0 */
#include "../../mod_serviceless/core/ring.h"

#include "unit.h"

#define SECRET_A "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"             /* 24 bytes: the one of PROTOCOL */
#define SECRET_B "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" /* 32 bytes */
#define SECRET_C "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==" /* 64 bytes */

static const svl_ring_t *parse(apr_pool_t *p, const char *text)
{
    const svl_ring_t *ring;
    const char *error = NULL;

    assert_int_equal(svl_ring_parse(&ring, unit_exact(p, text, strlen(text)), strlen(text), &error, p), APR_SUCCESS);
    return ring;
}

static const char *refused(apr_pool_t *p, const char *text)
{
    const svl_ring_t *ring;
    const char *error = NULL;

    assert_int_equal(svl_ring_parse(&ring, unit_exact(p, text, strlen(text)), strlen(text), &error, p), APR_EINVAL);
    assert_null(ring);
    assert_non_null(error);
    return error;
}

static const svl_key_t *key_at(const svl_ring_t *ring, int i)
{
    return APR_ARRAY_IDX(ring->keys, i, const svl_key_t *);
}

static void a_key_file_is_read_line_by_line(void **state)
{
    const svl_ring_t *ring = parse(*state, "# keys of the fleet\r\n"
                                           "\n"
                                           "  ops\t" SECRET_B "  call=cache.* call=flags.set   # for the console\r\n"
                                           "fleet-2 " SECRET_A " relay call\n"
                                           "old " SECRET_C);

    assert_int_equal(ring->keys->nelts, 3);
    assert_string_equal(key_at(ring, 0)->id, "ops");
    assert_int_equal(key_at(ring, 0)->length, 32);
    assert_int_equal(key_at(ring, 0)->secret[31], 31);
    assert_false(key_at(ring, 0)->relay);
    assert_int_equal(key_at(ring, 0)->calls->nelts, 2);
    assert_int_equal(key_at(ring, 1)->length, 24);
    assert_true(key_at(ring, 1)->relay);
    assert_int_equal(key_at(ring, 2)->length, 64);
    assert_int_equal(key_at(ring, 2)->secret[63], 63);
}

static void a_secret_is_written_as_it_stands_in_the_file(void **state)
{
    static const char *const secrets[] = {SECRET_A, SECRET_B, SECRET_C};
    const svl_ring_t *ring = parse(*state, "a " SECRET_A "\nb " SECRET_B "\nc " SECRET_C "\n");

    for (int i = 0; i < ring->keys->nelts; i++) {
        char *text = unit_exact(*state, unit_repeat(*state, "x", SVL_RING_TEXT), SVL_RING_TEXT);

        assert_int_equal(svl_ring_write_secret(key_at(ring, i), text), strlen(secrets[i]));
        assert_string_equal(text, secrets[i]);
    }
}

static void the_first_key_that_may_relay_signs(void **state)
{
    const svl_ring_t *ring = parse(*state, "ops " SECRET_B " call\nfleet-2 " SECRET_A " relay\nfleet-1 " SECRET_C "\n");

    assert_ptr_equal(ring->signer, key_at(ring, 1));
}

static void a_clients_ring_signs_with_its_first_key(void **state)
{
    const svl_ring_t *ring = parse(*state, "ops " SECRET_B " call\nother " SECRET_A " call=x\n");

    assert_ptr_equal(ring->signer, key_at(ring, 0));
    assert_false(ring->signer->relay); /* which a node refuses */
}

static void a_key_without_permissions_has_all(void **state)
{
    const svl_key_t *key = key_at(parse(*state, "k " SECRET_A), 0);

    assert_true(key->relay);
    assert_true(svl_ring_may_call(key, "anything.at-all"));
}

static void a_key_calls_what_its_globs_name_and_nothing_else(void **state)
{
    const svl_ring_t *ring = parse(*state, "a " SECRET_A " relay\nb " SECRET_B " call=cache.* call=flags.s?t call=[xy]z\n"
                                           "c " SECRET_C " call");
    const svl_key_t *key = key_at(ring, 1);

    assert_false(svl_ring_may_call(key_at(ring, 0), "cache.purge"));
    assert_true(svl_ring_may_call(key, "cache.purge"));
    assert_true(svl_ring_may_call(key, "cache."));
    assert_true(svl_ring_may_call(key, "flags.set"));
    assert_true(svl_ring_may_call(key, "yz"));
    assert_false(svl_ring_may_call(key, "cache"));
    assert_false(svl_ring_may_call(key, "xcache.purge"));
    assert_false(svl_ring_may_call(key, "Cache.purge"));
    assert_false(svl_ring_may_call(key, "flags.sett"));
    assert_false(svl_ring_may_call(key, ""));
    assert_true(svl_ring_may_call(key_at(ring, 2), "serviceless.ping"));
}

static void globs_hold_at_their_edges(void **state)
{
    static const struct {
        const char *glob, *function;
        int may;
    } cases[] = {
        {"*", "a", 1},
        {"*", "serviceless.ping", 1},
        {"a*", "a", 1},
        {"a*", "ba", 0},
        {"*a", "a", 1},
        {"*a", "ab", 0},
        {"a**b", "ab", 1},
        {"*.*", "ab", 0},
        {"*.*", "a.b.c", 1},
        {"a?", "a", 0},
        {"a?", "a.", 1},
        {"?", "ab", 0},
        {"[a-c]x", "bx", 1},
        {"[a-c]x", "dx", 0},
        {"[a-c]x", "Bx", 0},
        {"[!a-c]x", "dx", 1},
        {"[!a-c]x", "ax", 0},
        {"[^a]x", "bx", 1},
        {"[^a]x", "ax", 0},
        {"[]x", "x", 0},
        {"[a", "a", 0},
        {"[a", "[a", 1},
        {"a]", "a", 0},
        {"a.b", "axb", 0},
        {"a-b", "a-b", 1},
        {"cache.", "cache.", 1},
        {"cache.", "cache.x", 0},
        {"9*", "9", 1},
        {"a", "a\n", 0},
        {"!a", "b", 0},
    };

    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        const svl_key_t *key = key_at(parse(*state, apr_pstrcat(*state, "k " SECRET_A " call=", cases[i].glob, NULL)), 0);

        if (svl_ring_may_call(key, cases[i].function) != cases[i].may) {
            fail_msg("call=%s and %s: not %d", cases[i].glob, cases[i].function, cases[i].may);
        }
    }
}

/* THREATS 23 */
static void faulty_files_are_refused_with_the_line_and_without_key_material(void **state)
{
    static const struct {
        const char *text;
        const char *says;
    } files[] = {
        {"", "no key"},
        {"\n# only words\n\n", "no key"},
        {"k", "line 1: after the id"},
        {"k MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "line 1: after the id"},
        {"k whsec_", "line 1: after the id"},
        {"\n\nk whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRY=", "line 3: after the id"}, /* 23 bytes */
        {"k whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A=",
         "line 1: after"},                                                                /* 65 */
        {"k whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "line 1: after the id"},  /* padding missing */
        {"k whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", "line 1: after the id"}, /* unused bits */
        {"k whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa==", "line 1: after the id"},             /* 22 bytes */
        {"k whsec_MfKQ9r8GKYqrTwjUPD8ILPZI-2LaLaSw", "line 1: after the id"},             /* another alphabet */
        {"k whsec_MfKQ9r8GKYqr=wjUPD8ILPZIo2LaLaSw", "line 1: after the id"},
        {"k WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "line 1: after the id"},
        {SECRET_A " k", "line 1: after the id"},
        {SECRET_A "= k", "line 1: the id"},
        {"k.1 " SECRET_A, "line 1: the id"},
        {"k " SECRET_A " relya", "line 1: a permission"},
        {"k " SECRET_A " call=", "line 1: a permission"},
        {"k " SECRET_A " call=cache.*,flags.*", "line 1: a permission"},
        {"k " SECRET_A " " SECRET_B, "line 1: a permission"},
        {"k " SECRET_A "\nk " SECRET_B, "line 2: the id is that of an earlier line"},
        {"k " SECRET_A "\nl " SECRET_A, "line 2: the secret is that of an earlier line"},
    };

    for (size_t i = 0; i < UNIT_COUNT(files); i++) {
        const char *error = refused(*state, files[i].text);

        assert_non_null(strstr(error, files[i].says));
        assert_null(strstr(error, "MfKQ"));
        assert_null(strstr(error, "AAEC"));
    }
    refused(*state, apr_pstrcat(*state, "k " SECRET_A " call=", unit_repeat(*state, "*", 129), NULL));
}

static void hostile_ids_are_refused_and_not_repeated(void **state)
{
    for (size_t i = 0; i < UNIT_COUNT(unit_hostile_names); i++) {
        const char *name = unit_hostile_names[i];

        if (name[0] && !strpbrk(name, " \t\r\n#")) {
            assert_true(unit_is_printable(refused(*state, apr_pstrcat(*state, name, " " SECRET_A, NULL))));
        }
    }
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    static const char nul[] = "k " SECRET_A "\0";
    const svl_ring_t *ring;
    const char *error;

    assert_int_equal(svl_ring_parse(&ring, nul, sizeof(nul) - 1, &error, *state), APR_EINVAL);
    for (int i = 0; i < 20000; i++) {
        static const char file[] = "# c\na " SECRET_A " relay call=x.*\nb " SECRET_B "\n";
        apr_pool_t *p;
        char *text;

        apr_pool_create(&p, *state);
        text = unit_exact(p, file, sizeof(file) - 1);
        unit_mutate(text, sizeof(file) - 1);
        svl_ring_parse(&ring, text, sizeof(file) - 1, &error, p);
        apr_pool_destroy(p);
    }
}

static void there_are_at_most_64_keys(void **state)
{
    apr_array_header_t *none = apr_array_make(*state, 0, sizeof(const char *));
    const char *text = "";
    const char *line;
    const char *error;

    for (int i = 0; i < SVL_RING_KEYS_MAX; i++) {
        assert_int_equal(svl_ring_generate(&line, apr_psprintf(*state, "k%d", i), none, &error, *state), APR_SUCCESS);
        text = apr_pstrcat(*state, text, line, "\n", NULL);
    }
    assert_int_equal(parse(*state, text)->keys->nelts, 64);
    assert_non_null(strstr(refused(*state, apr_pstrcat(*state, text, "more " SECRET_A, NULL)), "line 65"));
}

static void a_fingerprint_is_8_digits_of_sha256(void **state)
{
    assert_string_equal(key_at(parse(*state, "k " SECRET_A), 0)->fingerprint, "f74e1720");
}

static void a_ring_lacks_a_fingerprint_that_no_key_has_and_nothing_else(void **state)
{
    /* clang-format off */
    static const char *const strange[] = {
        "", "0", "0000000", "000000000", "F74E1721", "f74e172g", " f74e1721", "f74e1721 ", "f74e172", "f74e172\n", "0x4e1721",
        "-74e1721", "f74e1721, f74e1721", "f74e1721f74e1721", "%s%s%s%s", "whsec_AA",
    };
    /* clang-format on */
    const svl_ring_t *ring = parse(*state, "a " SECRET_B "\nb " SECRET_A "\nc " SECRET_C);

    for (int i = 0; i < ring->keys->nelts; i++) {
        const char *fingerprint = key_at(ring, i)->fingerprint;

        assert_int_equal(strspn(fingerprint, "0123456789abcdef"), 8);
        assert_false(svl_ring_lacks(ring, fingerprint));
        assert_true(svl_ring_lacks(parse(*state, "d whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"), fingerprint));
    }
    assert_true(svl_ring_lacks(ring, "f74e1721")); /* one bit from that of b */
    assert_true(svl_ring_lacks(ring, "00000000"));
    assert_false(svl_ring_lacks(ring, NULL));
    for (size_t i = 0; i < UNIT_COUNT(strange); i++) {
        assert_false(svl_ring_lacks(ring, unit_exact(*state, strange[i], strlen(strange[i]) + 1)));
    }
}

static void secrets_are_wiped_with_their_pool(void **state)
{
    const unsigned char *secret;
    apr_pool_t *p;

    apr_pool_create(&p, *state);
    secret = key_at(parse(p, "k " SECRET_B), 0)->secret;
    assert_int_equal(secret[31], 31);
    apr_pool_clear(p); /* keeps its memory */
    for (int i = 0; i < 32; i++) {
        assert_int_equal(secret[i], 0);
    }
}

static void only_a_file_closed_to_others_is_taken(void **state)
{
    /* clang-format off */
    static const struct {
        apr_fileperms_t mode;
        apr_filetype_e type;
        int refused;
        int warned;
    } files[] = {
        {0x600, APR_REG, 0, 0}, {0x400, APR_REG, 0, 0}, {0x640, APR_REG, 0, 1}, {0x440, APR_REG, 0, 1},
        {0x644, APR_REG, 1, 0}, {0x604, APR_REG, 1, 0}, {0x602, APR_REG, 1, 0}, {0x660, APR_REG, 1, 0},
        {0x620, APR_REG, 1, 0}, {0x666, APR_REG, 1, 0}, {0x600, APR_DIR, 1, 0}, {0x600, APR_PIPE, 1, 0},
        {0x600, APR_LNK, 1, 0},
    };
    /* clang-format on */
    apr_finfo_t info = {.valid = APR_FINFO_TYPE, .filetype = APR_REG, .protection = 0x600};
    const char *warning;

    assert_non_null(svl_ring_check_file(&info, &warning, *state)); /* nobody knows its permissions */
    for (size_t i = 0; i < UNIT_COUNT(files); i++) {
        const char *fault;

        info = (apr_finfo_t){.valid = APR_FINFO_TYPE | APR_FINFO_PROT, .filetype = files[i].type, .protection = files[i].mode};
        fault = svl_ring_check_file(&info, &warning, *state);
        assert_int_equal(fault != NULL, files[i].refused);
        assert_int_equal(warning != NULL, files[i].warned);
    }
    info.filetype = APR_REG;
    info.protection = 0x644;
    assert_non_null(strstr(svl_ring_check_file(&info, &warning, *state), "0644"));
}

static void keys_are_found_by_id_and_shared_ones_by_secret(void **state)
{
    const svl_ring_t *one = parse(*state, "a " SECRET_A "\nb " SECRET_B);
    const svl_ring_t *other = parse(*state, "x " SECRET_C "\ny " SECRET_B);
    const svl_ring_t *third = parse(*state, "a " SECRET_C);

    assert_ptr_equal(svl_ring_find(one, "b"), key_at(one, 1));
    assert_null(svl_ring_find(one, "B"));
    assert_null(svl_ring_find(one, ""));
    assert_ptr_equal(svl_ring_shared(one, other), key_at(one, 1));
    assert_null(svl_ring_shared(one, third)); /* the same id is not the same key */
}

static void a_generated_line_is_a_key_of_32_bytes_with_its_permissions(void **state)
{
    apr_array_header_t *permissions = apr_array_make(*state, 2, sizeof(const char *));
    const char *error;
    const char *line;
    const char *again;
    const svl_key_t *key;

    assert_int_equal(svl_ring_generate(&line, "fleet", NULL, &error, *state), APR_SUCCESS);
    key = key_at(parse(*state, line), 0);
    assert_int_equal(key->length, 32);
    assert_true(key->relay && key->calls->nelts == 1);
    APR_ARRAY_PUSH(permissions, const char *) = "relay";
    APR_ARRAY_PUSH(permissions, const char *) = "call=cache.*";
    assert_int_equal(svl_ring_generate(&again, "fleet", permissions, &error, *state), APR_SUCCESS);
    assert_string_not_equal(line, again);
    key = key_at(parse(*state, again), 0);
    assert_string_equal(key->id, "fleet");
    assert_true(key->relay && svl_ring_may_call(key, "cache.x") && !svl_ring_may_call(key, "x"));
}

static void a_line_that_would_not_be_read_is_not_generated(void **state)
{
    static const char *const wrong[] = {"", "call=", "relay call", "relay\nx", "Relay", "call=a b", "call=\x1b"};
    apr_array_header_t *permissions = apr_array_make(*state, 1, sizeof(const char *));
    const char *line;
    const char *error;

    for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
        apr_array_clear(permissions);
        APR_ARRAY_PUSH(permissions, const char *) = wrong[i];
        assert_int_equal(svl_ring_generate(&line, "k", permissions, &error, *state), APR_EINVAL);
        assert_true(unit_is_printable(error));
    }
    for (size_t i = 0; i < UNIT_COUNT(unit_hostile_names); i++) {
        assert_int_equal(svl_ring_generate(&line, unit_hostile_names[i], NULL, &error, *state), APR_EINVAL);
    }
}

static const struct CMUnitTest promises[] = {
    PROMISE("a key file is read line by line", a_key_file_is_read_line_by_line),
    PROMISE("a secret is written as it stands in the file", a_secret_is_written_as_it_stands_in_the_file),
    PROMISE("the first key that may relay signs", the_first_key_that_may_relay_signs),
    PROMISE("a client's ring signs with its first key", a_clients_ring_signs_with_its_first_key),
    PROMISE("a key without permissions has all", a_key_without_permissions_has_all),
    PROMISE("a key calls what its globs name and nothing else", a_key_calls_what_its_globs_name_and_nothing_else),
    PROMISE("globs hold at their edges", globs_hold_at_their_edges),
    PROMISE("faulty files are refused with the line and without key material",
            faulty_files_are_refused_with_the_line_and_without_key_material),
    PROMISE("hostile ids are refused and not repeated", hostile_ids_are_refused_and_not_repeated),
    PROMISE("bytes that are no text are refused", bytes_that_are_no_text_are_refused),
    PROMISE("there are at most 64 keys", there_are_at_most_64_keys),
    PROMISE("a fingerprint is 8 digits of SHA-256", a_fingerprint_is_8_digits_of_sha256),
    PROMISE("a ring lacks a fingerprint that no key has, and nothing else",
            a_ring_lacks_a_fingerprint_that_no_key_has_and_nothing_else),
    PROMISE("secrets are wiped with their pool", secrets_are_wiped_with_their_pool),
    PROMISE("only a file closed to others is taken", only_a_file_closed_to_others_is_taken),
    PROMISE("keys are found by id, and shared ones by secret", keys_are_found_by_id_and_shared_ones_by_secret),
    PROMISE("a generated line is a key of 32 bytes with its permissions",
            a_generated_line_is_a_key_of_32_bytes_with_its_permissions),
    PROMISE("a line that would not be read is not generated", a_line_that_would_not_be_read_is_not_generated),
};

UNIT_MAIN(promises)
