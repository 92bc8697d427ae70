/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: a line that is taken for a frame is one, read here once more; and what it says is written as the same frame again. */
#include "fuzz.h"

#include "../../mod_serviceless/core/frame.h"

/* Six fields, the last of which may hold blanks; numbers first. */
static int is_frame(const char *line, apr_size_t length)
{
    int fields = 1, digits = 0, field = 0; /* bytes of the present field */
    for (apr_size_t i = 0; i < length; i++) {
        if (line[i] < 0x20 || line[i] > 0x7e) {
            return 0;
        }
        if (line[i] == ' ' && fields < 6) {
            if (!field) {
                return 0;
            }
            fields++;
            field = digits = 0;
            continue;
        }
        field++;
        digits += line[i] >= '0' && line[i] <= '9';
        if (fields <= 2 && (digits != field || digits > 10)) {
            return 0;
        }
    }
    return fields == 6 && field > 0;
}

static int same(const char *one, const char *other)
{
    return one && other ? strcmp(one, other) == 0 : one == other;
}

static void check_again(const svl_frame_t *frame)
{
    char line[SVL_FRAME_LINE_MAX];
    apr_size_t length = svl_frame_write(line, frame);
    svl_frame_t back;
    if (!length) { /* longer than a line that a node writes */
        return;
    }
    FUZZ_REQUIRE(length < SVL_FRAME_LINE_MAX && line[length - 1] == '\n');
    FUZZ_REQUIRE(svl_frame_parse(&back, line, length - 1));
    FUZZ_REQUIRE(back.status == frame->status && back.length == frame->length);
    FUZZ_REQUIRE(same(back.id, frame->id) && same(back.timestamp, frame->timestamp) && same(back.key, frame->key)
                 && same(back.signature, frame->signature));
}

static void feed(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    char *line = apr_pstrmemdup(p, bytes, length); /* the byte behind it is the LF's */
    svl_frame_t frame;
    int is = is_frame(bytes, length);
    if (svl_frame_parse(&frame, line, length)) {
        FUZZ_REQUIRE(is && frame.status >= 0 && frame.status <= 999);
        check_again(&frame);
    }
    else {
        FUZZ_REQUIRE(!is || strtol(bytes, NULL, 10) > 999);
    }
}

FUZZ_TARGET(feed)
