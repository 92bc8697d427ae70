/* SPDX-License-Identifier: Apache-2.0 */
/* Reads call lines as nodes write them (svl_call_draft): the members in that order, without blanks between them. */
#include <apr_strings.h>

#include "call.h"

static int take_part(svl_json_scan_t *scan, const char *before, int (*take)(svl_json_scan_t *scan), svl_json_scan_part_t *part)
{
    if (!svl_json_scan_text(scan, before)) {
        return 0;
    }
    part->text = scan->at;
    if (!take(scan)) {
        return 0;
    }
    part->length = (apr_size_t)(scan->at - part->text);
    return 1;
}

static int take_name(svl_json_scan_t *scan, const char *before, int (*fits)(const char *text, apr_size_t length),
                     const char **name, apr_pool_t *p)
{
    svl_json_scan_part_t part;

    if (!svl_json_scan_text(scan, before) || !svl_json_scan_string(scan, &part) || !fits(part.text, part.length)) {
        return 0;
    }
    *name = apr_pstrmemdup(p, part.text, part.length);
    return 1;
}

static int take_number(svl_json_scan_t *scan, const char *before, apr_int64_t most, apr_int64_t *number)
{
    return svl_json_scan_text(scan, before) && svl_json_scan_integer(scan, number) && *number >= 1 && *number <= most;
}

int svl_call_scan(svl_call_line_t *call, svl_json_scan_part_t *args, svl_json_scan_part_t *kwargs, const char *line,
                  apr_size_t length, apr_pool_t *p)
{
    svl_json_scan_t scan = {line, line + length, 1};
    apr_int64_t seq;

    if (!take_name(&scan, "{\"id\":", svl_name_is_id, &call->id, p)
        || !take_name(&scan, ",\"function\":", svl_name_is_function, &call->function, p)
        || !take_part(&scan, ",\"args\":", svl_json_scan_array, args)
        || !take_part(&scan, ",\"kwargs\":", svl_json_scan_object, kwargs)
        || !take_name(&scan, ",\"origin\":", svl_name_is_node, &call->origin, p)
        || !take_name(&scan, ",\"set\":", svl_name_is_node, &call->set, p)
        || !take_name(&scan, ",\"epoch\":", svl_name_is_epoch, &call->epoch, p)
        || !take_number(&scan, ",\"seq\":", APR_INT64_MAX, &seq)
        || !take_number(&scan, ",\"issued\":", SVL_CALL_ISSUED_MAX, &call->issued)
        || !take_number(&scan, ",\"ttl\":", SVL_CALL_TTL_MAX, &call->ttl) || !svl_json_scan_char(&scan, '}')
        || scan.at != scan.end) {
        return 0;
    }
    call->seq = (apr_uint64_t)seq;
    return 1;
}
