/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

#include <string.h>

#include <apr_strings.h>

#define FIELDS 6
#define DIGITS 10 /* of a number: more than the largest body has */

static const char *shown(const char *field)
{
    return field ? field : "-";
}

apr_size_t svl_frame_write(char line[SVL_FRAME_LINE_MAX], const svl_frame_t *frame)
{
    int length = apr_snprintf(line, SVL_FRAME_LINE_MAX, "%d %" APR_SIZE_T_FMT " %s %s %s %s\n", frame->status, frame->length,
                              shown(frame->id), shown(frame->timestamp), shown(frame->key), shown(frame->signature));
    return length < SVL_FRAME_LINE_MAX - 1 ? (apr_size_t)length : 0;
}

/* @return -1: it is none */
static apr_int64_t number(const char *text)
{
    apr_int64_t value = 0;
    if (!*text || strlen(text) > DIGITS) {
        return -1;
    }
    for (; *text; text++) {
        if (*text < '0' || *text > '9') {
            return -1;
        }
        value = 10 * value + (*text - '0');
    }
    return value;
}

static const char *field_of(const char *text)
{
    return strcmp(text, "-") == 0 ? NULL : text;
}

int svl_frame_parse(svl_frame_t *frame, char *line, apr_size_t length)
{
    char *fields[FIELDS];
    apr_int64_t status, size;
    int count = 1;
    fields[0] = line;
    for (apr_size_t i = 0; i < length; i++) {
        if (line[i] < ' ' || line[i] > '~') {
            return 0;
        }
        if (line[i] == ' ' && count < FIELDS) {
            line[i] = '\0';
            fields[count++] = line + i + 1;
        }
    }
    line[length] = '\0';
    if (count != FIELDS) {
        return 0;
    }
    for (int i = 0; i < FIELDS; i++) {
        if (!*fields[i]) {
            return 0;
        }
    }
    status = number(fields[0]);
    size = number(fields[1]);
    *frame = (svl_frame_t){.status = (int)status,
                           .length = (apr_size_t)size,
                           .id = field_of(fields[2]),
                           .timestamp = field_of(fields[3]),
                           .key = field_of(fields[4]),
                           .signature = field_of(fields[5])};
    return status >= 0 && status <= 999 && size >= 0;
}
