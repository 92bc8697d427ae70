/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#define BODY_MAX (64 * 1024 * 1024) /* bytes of standard input: 64 times ServicelessMaxBody's default */
#define BODY_STEP 65536

/* Reads the character at @a s (RFC 3629: shortest form, no surrogates).  @return its bytes, 0 when it is none */
static int character_at(const unsigned char *s, apr_size_t left, apr_uint32_t *character)
{
    static const apr_uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    int length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

    if (length == 0 || (apr_size_t)length > left) {
        return 0;
    }
    *character = length == 1 ? s[0] : s[0] & (0xffU >> (length + 1));
    for (int i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
        *character = *character << 6 | (s[i] & 0x3f);
    }
    return *character < smallest[length] || *character > 0x10ffff || (*character >= 0xd800 && *character < 0xe000) ? 0 : length;
}

/* @return nonzero for what a terminal obeys instead of showing: control characters, and marks that turn text around */
static int is_control(apr_uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e)
           || (c >= 0x2066 && c <= 0x2069);
}

const char *svl_cli_escape(apr_pool_t *p, const char *text, apr_size_t length)
{
    const unsigned char *s = (const unsigned char *)text;
    char *escaped = apr_palloc(p, length * 4 + 1);
    char *end = escaped;
    apr_uint32_t character;

    for (apr_size_t i = 0; i < length;) {
        int bytes = character_at(s + i, length - i, &character);

        if (bytes > 0 && !is_control(character)) {
            memcpy(end, s + i, (size_t)bytes);
            end += bytes;
            i += (apr_size_t)bytes;
            continue;
        }
        for (bytes = bytes > 0 ? bytes : 1; bytes > 0; bytes--) {
            end += apr_snprintf(end, 5, "\\x%02x", s[i++]);
        }
    }
    *end = '\0';
    return escaped;
}

/* Writes the number at @a text, of @a length characters, to @a end.  17 digits, as they are sent, tell any two doubles
 * apart; most need fewer.  @return the new end */
static char *shorten_number(char *end, const char *text, apr_size_t length)
{
    enum { EXACT = 17, ENOUGH = 15, ROOM = 40 };
    char number[ROOM];
    char fewer[ROOM];

    if (length > EXACT && length < ROOM && memchr(text, '.', length)) {
        memcpy(number, text, length);
        number[length] = '\0';
        for (int digits = ENOUGH; digits < EXACT; digits++) {
            int written = snprintf(fewer, sizeof(fewer), "%.*g", digits, strtod(number, NULL));

            if (written > 0 && (apr_size_t)written <= length && strtod(fewer, NULL) == strtod(number, NULL)) {
                memcpy(end, fewer, (size_t)written);
                return end + written;
            }
        }
    }
    memcpy(end, text, length);
    return end + length;
}

const char *svl_cli_readable(apr_pool_t *p, const char *text, apr_size_t length)
{
    char *readable = apr_palloc(p, length + 1);
    char *end = readable;
    int quoted = 0;

    for (apr_size_t i = 0; i < length;) {
        apr_size_t digits = quoted ? 0 : strspn(text + i, "0123456789.eE+-");

        if (digits > 0) {
            end = shorten_number(end, text + i, digits);
            i += digits;
            continue;
        }
        if (text[i] == '"') {
            quoted = !quoted;
        }
        else if (quoted && text[i] == '\\' && i + 1 < length) {
            *end++ = text[i++];
        }
        *end++ = text[i++];
    }
    return svl_cli_escape(p, readable, (apr_size_t)(end - readable));
}

void svl_cli_print_json(const char *text, apr_size_t length)
{
    apr_uint32_t character;
    int bytes;

    for (apr_size_t i = 0; i < length; i += (apr_size_t)bytes) {
        bytes = character_at((const unsigned char *)text + i, length - i, &character);
        if (bytes == 0 || is_control(character)) {
            /* In JSON a raw control character of ASCII is space between tokens, and any other stands in a string. */
            if (bytes == 1 && character < 0x20) {
                putchar(' ');
            }
            else {
                printf("\\u%04x", bytes == 0 ? 0xfffdU : character);
            }
            bytes = bytes > 0 ? bytes : 1;
        }
        else {
            fwrite(text + i, 1, (size_t)bytes, stdout);
        }
    }
    putchar('\n');
}

int svl_cli_read_body(const char **body, apr_size_t *length, apr_pool_t *p)
{
    apr_size_t room = BODY_STEP;
    char *text = apr_palloc(p, room);
    size_t got;

    *length = 0;
    while ((got = fread(text + *length, 1, room - *length, stdin)) > 0) {
        *length += got;
        if (*length > BODY_MAX) {
            return svl_cli_fail(SVL_CLI_REFUSED, "the body on standard input is larger than %d bytes", BODY_MAX);
        }
        if (*length == room) {
            char *more = apr_palloc(p, room * 2);

            memcpy(more, text, room);
            text = more;
            room *= 2;
        }
    }
    if (ferror(stdin)) {
        return svl_cli_fail(SVL_CLI_REFUSED, "cannot read the body on standard input");
    }
    *body = text;
    return SVL_CLI_OK;
}
