/* SPDX-License-Identifier: Apache-2.0 */
#include "base64.h"

#include <string.h>

#include <apr_encode.h>

static int is_digit(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

/* Only these end a text whose last digit has 4 or 2 bits too many: those bits are zero. */
static int is_last_digit(char c, apr_size_t padding)
{
    static const char *const allowed[] = {[1] = "AEIMQUYcgkosw048", [2] = "AQgw"};

    return padding == 0 || (c != '\0' && strchr(allowed[padding], c) != NULL);
}

apr_status_t svl_base64_decode(unsigned char *bytes, apr_size_t size, apr_size_t *used, const char *text, apr_size_t length)
{
    apr_size_t padding;

    *used = 0;
    if (length == 0 || length % 4 != 0) {
        return APR_EINVAL;
    }
    padding = text[length - 1] != '=' ? 0 : text[length - 2] != '=' ? 1 : 2;
    if (length / 4 * 3 - padding > size || !is_last_digit(text[length - padding - 1], padding)) {
        return APR_EINVAL;
    }
    for (apr_size_t i = 0; i < length - padding; i++) {
        if (!is_digit(text[i])) {
            return APR_EINVAL;
        }
    }
    return apr_decode_base64_binary(bytes, text, (apr_ssize_t)length, APR_ENCODE_NONE, used);
}

apr_status_t svl_base64_decode_url(unsigned char *bytes, apr_size_t size, apr_size_t *used, const char *text, apr_size_t length,
                                   apr_pool_t *p)
{
    char *usual = apr_palloc(p, length + 3);

    *used = 0;
    for (apr_size_t i = 0; i < length; i++) {
        if (text[i] == '+' || text[i] == '/' || text[i] == '=') {
            return APR_EINVAL;
        }
        usual[i] = (char)(text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i]);
    }
    while (length % 4 != 0) {
        usual[length++] = '=';
    }
    return svl_base64_decode(bytes, size, used, usual, length);
}
