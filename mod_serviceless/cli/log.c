/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <apr_file_info.h>
#include <apr_strings.h>
#include <apr_time.h>

#include "../core/call.h"
#include "../core/json.h"
#include "../store/store.h"

#define CHUNK 256       /* entries of one read transaction: printing may wait for a pager, a transaction must not */
#define DETAIL_SHOWN 60 /* characters of a result in the table; --json has it whole */
#define DATA_FILE "data.mdb"
enum { COLUMNS = 9 };

/* An entry, copied out of the log. */
typedef struct entry_t {
    svl_store_record_t record; /* line and text are copies, NUL-terminated */
    const char *node;
    svl_call_line_t *call; /* NULL: a refused number, or a line that cannot be read */
} entry_t;

/* The log of one node, read backwards in chunks. */
typedef struct source_t {
    svl_store_t *store;
    const char *node;
    apr_uint64_t position; /* of the last entry read; 0: none yet */
    entry_t entries[CHUNK];
    int count, next;
    apr_pool_t *pool; /* of the chunk */
} source_t;

static const char *shown(const svl_cli_t *cli, const char *text)
{
    return svl_cli_escape(cli->pool, text, strlen(text));
}

static int is_log(const char *directory, apr_pool_t *p)
{
    apr_finfo_t info;

    return apr_stat(&info, apr_pstrcat(p, directory, "/" DATA_FILE, NULL), APR_FINFO_TYPE, p) == APR_SUCCESS;
}

static int open_source(apr_array_header_t *sources, const char *directory, const svl_cli_t *cli)
{
    source_t *source = apr_pcalloc(cli->pool, sizeof(*source));
    const char *error = NULL;
    apr_status_t rv = svl_store_open_reader(&source->store, directory, &source->node, &error, cli->pool);

    if (rv != APR_SUCCESS) {
        return svl_cli_fail(SVL_CLI_REFUSED, "%s", shown(cli, error ? error : directory));
    }
    apr_pool_create(&source->pool, cli->pool);
    APR_ARRAY_PUSH(sources, source_t *) = source;
    return SVL_CLI_OK;
}

/* Opens the logs below a state directory.  @return SVL_CLI_OK or SVL_CLI_REFUSED (said) */
static int open_below(apr_array_header_t *sources, const char *directory, const svl_cli_t *cli)
{
    apr_dir_t *dir;
    apr_finfo_t info;
    char reason[120];
    int status = SVL_CLI_OK;
    apr_status_t rv = apr_dir_open(&dir, directory, cli->pool);

    if (rv != APR_SUCCESS) {
        return svl_cli_fail(SVL_CLI_REFUSED, "cannot read the directory %s: %s", shown(cli, directory),
                            apr_strerror(rv, reason, sizeof(reason)));
    }
    /* NOLINTNEXTLINE(clang-analyzer-deadcode.DeadStores): read after the loop */
    while (status == SVL_CLI_OK && (rv = apr_dir_read(&info, APR_FINFO_NAME, dir)) == APR_SUCCESS) {
        const char *below = apr_pstrcat(cli->pool, directory, "/", info.name, NULL);

        if (info.name[0] != '.' && is_log(below, cli->pool)) {
            status = open_source(sources, below, cli);
        }
    }
    apr_dir_close(dir);
    if (status == SVL_CLI_OK && sources->nelts == 0) {
        return svl_cli_fail(SVL_CLI_REFUSED,
                            "there is no node's log in %s that this user can read; ServicelessStateDir tells where "
                            "it is",
                            shown(cli, directory));
    }
    return status;
}

static void copy_entry(entry_t *entry, const svl_store_record_t *record, const source_t *source)
{
    entry->record = *record;
    entry->node = source->node;
    entry->call = NULL;
    if (record->line) {
        entry->record.line = apr_pstrmemdup(source->pool, record->line, record->length);
        svl_call_parse_line(&entry->call, entry->record.line, record->length, NULL, source->pool);
    }
    if (record->text) {
        entry->record.text = apr_pstrmemdup(source->pool, record->text, record->text_length);
    }
}

/* @return the next entry of a log (older than those before), or NULL */
static const entry_t *peek(source_t *source)
{
    svl_store_reader_t *reader;
    svl_store_record_t record = {.position = source->position};

    if (source->next < source->count) {
        return &source->entries[source->next];
    }
    source->next = source->count = 0;
    apr_pool_clear(source->pool);
    if (svl_store_read_begin(&reader, source->store) != APR_SUCCESS) {
        return NULL;
    }
    while (source->count < CHUNK && svl_store_next(reader, 1, 1, &record) == APR_SUCCESS) {
        copy_entry(&source->entries[source->count++], &record, source);
    }
    svl_store_read_end(reader);
    if (source->count == 0) {
        return NULL;
    }
    source->position = source->entries[source->count - 1].record.position;
    return source->entries;
}

/* @return the newest entry of all logs that was not taken yet, or NULL */
static const entry_t *take(const apr_array_header_t *sources)
{
    source_t *newest = NULL;

    for (int i = 0; i < sources->nelts; i++) {
        source_t *source = APR_ARRAY_IDX(sources, i, source_t *);
        const entry_t *entry = peek(source);

        if (entry && (!newest || entry->record.arrived > peek(newest)->record.arrived)) {
            newest = source;
        }
    }
    return newest ? &newest->entries[newest->next++] : NULL;
}

/* @return a number of the line, or "" */
static const char *number_of(apr_uint64_t number, apr_pool_t *p)
{
    return number ? apr_psprintf(p, "%" APR_UINT64_T_FMT, number) : "";
}

static const char *local_time(apr_time_t time, apr_pool_t *p)
{
    apr_time_exp_t parts;

    apr_time_exp_lt(&parts, time);
    return apr_psprintf(p, "%04d-%02d-%02d %02d:%02d:%02d.%03d", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                        parts.tm_hour, parts.tm_min, parts.tm_sec, (int)apr_time_as_msec(parts.tm_usec));
}

static int has_run(const svl_store_record_t *record)
{
    return record->ended != 0;
}

static const char **make_row(const entry_t *entry, apr_pool_t *p)
{
    const svl_store_record_t *record = &entry->record;
    const svl_call_line_t *call = entry->call;
    const char *text = !record->text                       ? ""
                       : record->outcome == SVL_OUTCOME_OK ? svl_cli_readable(p, record->text, record->text_length)
                                                           : svl_cli_escape(p, record->text, record->text_length);
    const char **cells = apr_pcalloc(p, COLUMNS * sizeof(*cells));

    cells[0] = local_time(record->arrived, p);
    cells[1] = entry->node;
    if (call) {
        /* copied, because a row outlives its chunk; names that the parser passed hold nothing that a terminal obeys */
        cells[2] = apr_pstrdup(p, call->id);
        cells[3] = apr_pstrdup(p, call->function);
        cells[4] = apr_pstrdup(p, call->origin);
        cells[5] = number_of(call->seq, p);
    }
    cells[6] = svl_call_outcome_name(record->outcome);
    cells[7] = has_run(record) ? svl_cli_ms((double)record->micros / 1000, p) : "";
    cells[8] = svl_cli_shorten(p, record->alias ? "the same call under another number" : text, DETAIL_SHOWN);
    return cells;
}

static const char *utc_time(apr_time_t time, apr_pool_t *p)
{
    apr_time_exp_t parts;

    apr_time_exp_gmt(&parts, time);
    return apr_psprintf(p, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                        parts.tm_hour, parts.tm_min, parts.tm_sec, (int)parts.tm_usec);
}

/* @return the text of an outcome as a member, or "": a result is JSON already, and stays as it was written */
static const char *text_member(const svl_store_record_t *record, apr_pool_t *p)
{
    if (!record->text) {
        return "";
    }
    return record->outcome == SVL_OUTCOME_OK ? apr_pstrcat(p, ",\"result\":", record->text, NULL)
                                             : apr_pstrcat(p, ",\"detail\":", svl_json_quote(record->text, p), NULL);
}

static void print_object(const entry_t *entry, apr_pool_t *p)
{
    const svl_store_record_t *record = &entry->record;
    const char *text = apr_psprintf(
        p,
        "{\"node\":%s,\"position\":%" APR_UINT64_T_FMT ",\"arrived\":\"%s\",\"outcome\":\"%s\"%s%s%s,"
        "\"call\":%s}",
        svl_json_quote(entry->node, p), record->position, utc_time(record->arrived, p), svl_call_outcome_name(record->outcome),
        has_run(record) ? apr_psprintf(p, ",\"ms\":%.3f", (double)record->micros / 1000) : "",
        record->alias ? ",\"alias\":true" : "", text_member(record, p), entry->call ? record->line : "null");

    svl_cli_print_json(text, strlen(text));
}

/* @param left entries to print; negative: all */
static void print_log(const apr_array_header_t *sources, apr_int64_t left, const svl_cli_t *cli)
{
    static const char *const titles[COLUMNS] = {"TIME", "NODE", "ID", "FUNCTION", "ORIGIN", "SEQ", "OUTCOME", "MS", "RESULT"};
    svl_cli_table_t *table = svl_cli_table_make(titles, COLUMNS, cli->pool);
    const entry_t *entry;
    apr_pool_t *page;

    apr_pool_create(&page, cli->pool);
    while (left != 0 && (entry = take(sources)) != NULL && !ferror(stdout)) {
        left -= left > 0;
        if (cli->options.json) {
            print_object(entry, page);
            apr_pool_clear(page);
            continue;
        }
        svl_cli_table_add(table, make_row(entry, page));
        if (table->rows->nelts == CHUNK) {
            svl_cli_table_print(table);
            apr_pool_clear(page);
        }
    }
    if (!cli->options.json) {
        svl_cli_table_print(table);
    }
    apr_pool_destroy(page);
}

/* The log is read from a map of its file; where the file ends too early there is nothing to go on with. */
static void cut_short(int signal)
{
    static const char words[] = "serviceless: the log is damaged: data.mdb lacks pages that it should have\n";
    ssize_t ignored = write(STDERR_FILENO, words, sizeof(words) - 1);

    (void)signal;
    (void)ignored;
    _exit(SVL_CLI_REFUSED);
}

/* @return SVL_CLI_OK and how many entries to print (-1: all), or SVL_CLI_USAGE (said) */
static int number_to_print(apr_int64_t *number, const svl_cli_t *cli)
{
    enum { DIGITS = 18 };
    const char *text = cli->options.number;
    size_t length = text ? strlen(text) : 0;

    *number = text ? apr_atoi64(text) : -1;
    if (text && (length > DIGITS || strspn(text, "0123456789") != length || *number == 0)) {
        return svl_cli_fail(SVL_CLI_USAGE, "the number \"%s\" is not a whole number from 1", shown(cli, text));
    }
    return SVL_CLI_OK;
}

int svl_cli_log(svl_cli_t *cli)
{
    apr_array_header_t *sources = apr_array_make(cli->pool, 4, sizeof(source_t *));
    const char *directory = cli->args->nelts > 0 ? APR_ARRAY_IDX(cli->args, 0, const char *) : SVL_DEFAULT_STATEDIR;
    apr_int64_t number;
    int status = number_to_print(&number, cli);

    if (status != SVL_CLI_OK) {
        return status;
    }

    if (cli->args->nelts > 1) {
        return svl_cli_fail(SVL_CLI_USAGE, "log takes one directory, and was given %d arguments", cli->args->nelts);
    }
    signal(SIGBUS, cut_short);
    status = is_log(directory, cli->pool) ? open_source(sources, directory, cli) : open_below(sources, directory, cli);
    if (status != SVL_CLI_OK) {
        return status;
    }
    print_log(sources, number, cli);
    return SVL_CLI_OK;
}
