/* SPDX-License-Identifier: Apache-2.0 */
#include "name.h"

#include <apr_encode.h>
#include <openssl/rand.h>

enum { ID = 1, FUNCTION = 2, NODE = 4, EPOCH = 8, WORD = ID | FUNCTION | NODE };

/* Which grammars a byte may stand in.  A table, because isalnum() asks the locale. */
static const unsigned char classes[256] = {
    ['0' ... '9'] = WORD | EPOCH,
    ['a' ... 'f'] = WORD | EPOCH,
    ['g' ... 'z'] = WORD,
    ['A' ... 'Z'] = WORD,
    ['_'] = WORD,
    ['-'] = WORD,
    ['.'] = FUNCTION | NODE,
    [':'] = NODE,
    ['['] = NODE,
    [']'] = NODE,
};

static int consists_of(const char *name, apr_size_t length, apr_size_t longest, unsigned char class)
{
    if (length == 0 || length > longest) {
        return 0;
    }
    for (apr_size_t i = 0; i < length; i++) {
        if (!(classes[(unsigned char)name[i]] & class)) {
            return 0;
        }
    }
    return 1;
}

int svl_name_is_id(const char *name, apr_size_t length)
{
    return consists_of(name, length, SVL_NAME_ID_MAX, ID);
}

int svl_name_is_function(const char *name, apr_size_t length)
{
    return consists_of(name, length, SVL_NAME_FUNCTION_MAX, FUNCTION) && name[0] != '.' && name[0] != '-'
           && !(name[0] >= '0' && name[0] <= '9');
}

int svl_name_is_node(const char *name, apr_size_t length)
{
    return consists_of(name, length, SVL_NAME_NODE_MAX, NODE);
}

int svl_name_is_epoch(const char *name, apr_size_t length)
{
    return length == SVL_NAME_EPOCH && consists_of(name, length, SVL_NAME_EPOCH, EPOCH);
}

apr_status_t svl_name_make_id(char *id, apr_int64_t now)
{
    /* In the order of ASCII; 12 of 5 bits hold microseconds for 36,000 years.  No '-' in front: ids stand on command lines. */
    static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
    enum { TIME = 12, RANDOM = 12 };
    unsigned char bytes[RANDOM];
    apr_uint64_t time = (apr_uint64_t)now;

    if (RAND_bytes(bytes, RANDOM) != 1) {
        return APR_EGENERAL;
    }
    for (int i = TIME; i-- > 0; time >>= 5) {
        id[i] = digits[time & 31];
    }
    return apr_encode_base64_binary(id + TIME, bytes, RANDOM, APR_ENCODE_BASE64URL, NULL);
}

apr_status_t svl_name_make_epoch(char epoch[SVL_NAME_EPOCH + 1])
{
    unsigned char bytes[SVL_NAME_EPOCH / 2];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return APR_EGENERAL;
    }
    return apr_encode_base16_binary(epoch, bytes, sizeof(bytes), APR_ENCODE_LOWER, NULL);
}
