/* SPDX-License-Identifier: Apache-2.0 */
/* What stands before a body on a link: what is written is read, and nothing else is. */
#include "unit.h"

#include <stdlib.h>

#include "core/frame.h"

static const svl_frame_t message = {0, 4711, "an-id", "1700000000", "0123abcd", "v1,one v1,two"};

/* Parses a copy of exactly these bytes, so that a look beyond them is found. */
static int parse(svl_frame_t *frame, const char *text, char **kept)
{
    apr_size_t length = strlen(text);
    char *line = malloc(length + 1);
    int is = 0;

    assert_non_null(line);
    memcpy(line, text, length);
    line[length] = 'x'; /* the LF's place */
    is = svl_frame_parse(frame, line, length);
    *kept = line;
    return is;
}

static void same(const char *one, const char *other)
{
    if (one && other) {
        assert_string_equal(one, other);
    }
    else {
        assert_true(one == other);
    }
}

static void round_trip(const svl_frame_t *frame)
{
    char line[SVL_FRAME_LINE_MAX];
    apr_size_t length = svl_frame_write(line, frame);
    svl_frame_t back;

    assert_true(length > 0);
    assert_int_equal(line[length - 1], '\n');
    assert_int_equal(svl_frame_parse(&back, line, length - 1), 1);
    assert_int_equal(back.status, frame->status);
    assert_int_equal(back.length, frame->length);
    same(back.id, frame->id);
    same(back.timestamp, frame->timestamp);
    same(back.key, frame->key);
    same(back.signature, frame->signature);
}

static void what_is_written_is_read(void **state)
{
    svl_frame_t answer = {.status = 202, .length = 1073807360, .id = "an-id:n1", .timestamp = "1", .signature = "v1,x"};
    svl_frame_t bare = {.status = 503, .length = 0};

    (void)state;
    round_trip(&message);
    round_trip(&answer);
    round_trip(&bare);
}

static void the_bytes_are_these(void **state)
{
    char line[SVL_FRAME_LINE_MAX];
    apr_size_t length = svl_frame_write(line, &message);
    static const char wanted[] = "0 4711 an-id 1700000000 0123abcd v1,one v1,two\n";

    (void)state;
    assert_int_equal(length, sizeof(wanted) - 1);
    assert_memory_equal(line, wanted, length);
}

static void nothing_else_is_read(void **state)
{
    static const char *const wrong[] = {
        "",
        " ",
        "-",
        "0 1 a b c",  /* a field too few */
        "0 1 a b c ", /* an empty one */
        "0  1 a b c d",
        " 0 1 a b c d",
        "- 1 a b c d",
        "0 - a b c d",
        "-1 1 a b c d",
        "0 -1 a b c d",
        "0 +1 a b c d",
        "0 1x a b c d",
        "1000 1 a b c d",        /* no status of HTTP */
        "0 12345678901 a b c d", /* longer than any message */
        "0 99999999999999999999 a b c d",
        "0 1 a b c d\r",
        "0 1 a\tb b c d",
        "0 1 \xc3\xa4 b c d",
        "POST /serviceless HTTP/1.1",
    };
    svl_frame_t frame;
    char *line;

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
        if (parse(&frame, wrong[i], &line)) {
            fail_msg("'%s' was read", wrong[i]);
        }
        free(line);
    }
    assert_int_equal(svl_frame_parse(&frame, (char[]){'0', ' ', '1', '\0', 'a', ' ', 'b', ' ', 'c', ' ', 'd', 0}, 11), 0);
}

static void what_does_not_fit_is_not_written(void **state)
{
    char line[SVL_FRAME_LINE_MAX], most[SVL_FRAME_LINE_MAX];
    svl_frame_t frame = {.signature = most};
    apr_size_t overhead = strlen("0 0 - - - \n");

    (void)state;
    memset(most, 's', sizeof(most));
    most[SVL_FRAME_LINE_MAX - overhead - 2] = '\0';
    assert_int_equal(svl_frame_write(line, &frame), SVL_FRAME_LINE_MAX - 2);
    most[SVL_FRAME_LINE_MAX - overhead - 2] = 's';
    most[SVL_FRAME_LINE_MAX - overhead - 1] = '\0';
    assert_int_equal(svl_frame_write(line, &frame), 0);
}

static const struct CMUnitTest promises[] = {
    PROMISE("what is written is read", what_is_written_is_read),
    PROMISE("the bytes are these", the_bytes_are_these),
    PROMISE("nothing else is read", nothing_else_is_read),
    PROMISE("what does not fit is not written", what_does_not_fit_is_not_written),
};

UNIT_MAIN(promises)
