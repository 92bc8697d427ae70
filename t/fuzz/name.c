/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: names, modes, base64 and escapes keep to their grammars, read here once more; a route is cut into slices without a rest. */
#include "fuzz.h"

#include <apr_encode.h>

#include "../../mod_serviceless/core/base64.h"
#include "../../mod_serviceless/core/json.h"
#include "../../mod_serviceless/core/log.h"
#include "../../mod_serviceless/core/name.h"
#include "../../mod_serviceless/core/route.h"

#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

static int consists_of(const char *bytes, apr_size_t length, const char *alphabet)
{
    for (apr_size_t i = 0; i < length; i++) {
        if (!bytes[i] || !strchr(alphabet, bytes[i])) {
            return 0;
        }
    }
    return length > 0;
}

static void check_names(const char *bytes, apr_size_t length)
{
    FUZZ_REQUIRE(!svl_name_is_id(bytes, length) == !(length <= 64 && consists_of(bytes, length, UPPER LOWER DIGITS "_-")));
    FUZZ_REQUIRE(
        !svl_name_is_function(bytes, length)
        == !(length <= 128 && consists_of(bytes, length, UPPER LOWER DIGITS "_.-") && consists_of(bytes, 1, UPPER LOWER "_")));
    FUZZ_REQUIRE(!svl_name_is_node(bytes, length)
                 == !(length <= 64 && consists_of(bytes, length, UPPER LOWER DIGITS "_.:[]-")));
    FUZZ_REQUIRE(!svl_name_is_epoch(bytes, length) == !(length == 16 && consists_of(bytes, length, DIGITS "abcdef")));
}

/* Every value has one spelling: what is taken is what the library writes. */
static void check_base64(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    unsigned char *value = apr_palloc(p, length + 1);
    apr_size_t used = 0;

    if (svl_base64_decode(value, length, &used, bytes, length) != APR_SUCCESS) {
        return;
    }
    FUZZ_REQUIRE(used > 0 && used <= length / 4 * 3);
    FUZZ_REQUIRE(memcmp(apr_pencode_base64_binary(p, value, (apr_ssize_t)used, APR_ENCODE_NONE, NULL), bytes, length) == 0);
    FUZZ_REQUIRE(svl_base64_decode(value, used - 1, &used, bytes, length) == APR_EINVAL);
}

static void check_mode(const char *text, apr_pool_t *p)
{
    apr_uint32_t arity;
    apr_uint32_t again;

    if (svl_route_parse_mode(text, &arity)) {
        FUZZ_REQUIRE(arity <= SVL_ROUTE_ARITY_MAX);
        FUZZ_REQUIRE(svl_route_parse_mode(svl_route_mode_name(arity, p), &again) && again == arity);
        FUZZ_REQUIRE(strcmp(text, "tree") == 0 || strcmp(svl_route_mode_name(arity, p), text) == 0);
    }
}

static void check_slices(const unsigned char *bytes, apr_size_t length)
{
    apr_uint32_t nodes = length < 4 ? (apr_uint32_t)length : (apr_uint32_t)(bytes[0] << 8 | bytes[1]) % SVL_ROUTE_NODES_MAX;
    apr_uint32_t arity = length < 4 ? 1 : (apr_uint32_t)(bytes[2] << 8 | bytes[3]) % (SVL_ROUTE_ARITY_MAX + 1);
    apr_uint32_t slices = svl_route_slices(nodes, arity);
    apr_uint32_t next = 0;

    FUZZ_REQUIRE(slices <= nodes && (slices > 0 || nodes == 0)
                 && (arity == SVL_ROUTE_BROADCAST ? slices == nodes : slices <= arity));
    for (apr_uint32_t i = 0; i < slices; i++) {
        svl_route_slice_t slice = svl_route_slice(nodes, arity, i);

        FUZZ_REQUIRE(slice.first == next && slice.count > 0);
        FUZZ_REQUIRE(slice.count == nodes / slices || slice.count == nodes / slices + 1);
        next += slice.count;
    }
    FUZZ_REQUIRE(next == nodes);
}

static void check_escapes(const char *text, apr_pool_t *p)
{
    const char *escaped = svl_log_escape(p, text, 128);
    const char *quoted = svl_json_quote(text, p);

    fuzz_printable(escaped);
    FUZZ_REQUIRE(strlen(escaped) <= 4 * 128);
    FUZZ_REQUIRE(json_is_string(fuzz_json(quoted, strlen(quoted), p)));
    for (const char *at = quoted; *at; at++) {
        FUZZ_REQUIRE((unsigned char)*at >= 0x20 && *at != 0x7f);
    }
}

static void feed(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    const char *text = apr_pstrmemdup(p, bytes, length);

    check_names(bytes, length);
    check_base64(bytes, length, p);
    check_mode(text, p);
    check_slices((const unsigned char *)bytes, length);
    check_escapes(text, p);
}

FUZZ_TARGET(feed)
