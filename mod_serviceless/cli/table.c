/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <string.h>
#include <wchar.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "../core/call.h"

#define GAP 2 /* blanks between columns */

#define GREEN "\033[32m"
#define YELLOW "\033[33m"
#define RED "\033[31m"
#define PLAIN "\033[0m"

/* Everything that is not in this table is red. */
static const struct {
    svl_outcome_e outcome;
    const char *colour;
} colours[] = {
    {SVL_OUTCOME_OK, GREEN},       {SVL_OUTCOME_ACCEPTED, GREEN},     {SVL_OUTCOME_PENDING, YELLOW},
    {SVL_OUTCOME_UNKNOWN, YELLOW}, {SVL_OUTCOME_UNREACHABLE, YELLOW},
};

/* @return the bytes of the character that valid UTF-8 begins with, and the columns that it takes */
static int character_at(const char *text, int *columns)
{
    const unsigned char *s = (const unsigned char *)text;
    int length = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    wchar_t character = (wchar_t)(length == 1 ? s[0] : s[0] & (0xff >> (length + 1)));

    for (int i = 1; i < length; i++) {
        character = character << 6 | (s[i] & 0x3f);
    }
    *columns = length == 1 ? 1 : wcwidth(character);
    *columns = *columns < 0 ? 1 : *columns;
    return length;
}

static int width_of(const char *text)
{
    int width = 0;
    int columns;

    while (*text) {
        text += character_at(text, &columns);
        width += columns;
    }
    return width;
}

const char *svl_cli_shorten(apr_pool_t *p, const char *text, int limit)
{
    static const char dots[] = "...";
    const char *end = text;
    int left = limit - (int)strlen(dots);
    int columns;

    if (width_of(text) <= limit) {
        return text;
    }
    while (left >= 0) {
        int length = character_at(end, &columns);

        left -= columns;
        end += left >= 0 ? length : 0;
    }
    return apr_pstrcat(p, apr_pstrmemdup(p, text, (apr_size_t)(end - text)),
                       dots + (limit < (int)strlen(dots) ? (int)strlen(dots) - limit : 0), NULL);
}

int svl_cli_natural_order(const char *one, const char *other)
{
    const char *a = one;
    const char *b = other;

    while (*a && *b) {
        size_t digits_a = strspn(a, "0123456789");
        size_t digits_b = strspn(b, "0123456789");
        size_t zeros_a = strspn(a, "0");
        size_t zeros_b = strspn(b, "0");
        int order;

        if (digits_a && digits_b) {
            a += zeros_a;
            b += zeros_b;
            digits_a -= zeros_a;
            digits_b -= zeros_b;
            order = digits_a != digits_b ? (digits_a < digits_b ? -1 : 1) : strncmp(a, b, digits_a);
            a += digits_a;
            b += digits_b;
        }
        else {
            order = (unsigned char)*a++ - (unsigned char)*b++;
        }
        if (order != 0) {
            return order;
        }
    }
    /* 01 and 1 are two names. */
    return *a ? 1 : *b ? -1 : strcmp(one, other);
}

svl_cli_table_t *svl_cli_table_make(const char *const *titles, int columns, apr_pool_t *p)
{
    svl_cli_table_t *table = apr_pcalloc(p, sizeof(*table));

    table->columns = columns;
    table->titles = titles;
    table->painted = SVL_CLI_NO_COLUMN;
    table->widths = apr_pcalloc(p, (apr_size_t)columns * sizeof(*table->widths));
    table->rows = apr_array_make(p, 16, sizeof(const char *const *));
    for (int i = 0; i < columns; i++) {
        table->widths[i] = width_of(titles[i]);
    }
    return table;
}

void svl_cli_table_add(svl_cli_table_t *table, const char *const *cells)
{
    APR_ARRAY_PUSH(table->rows, const char *const *) = cells;
    for (int i = 0; i < table->columns; i++) {
        int width = cells[i] ? width_of(cells[i]) : 0;

        table->widths[i] = width > table->widths[i] ? width : table->widths[i];
    }
}

static const char *colour_of(const char *outcome)
{
    for (size_t i = 0; i < sizeof(colours) / sizeof(*colours); i++) {
        if (strcmp(outcome, svl_call_outcome_name(colours[i].outcome)) == 0) {
            return colours[i].colour;
        }
    }
    return RED;
}

static void print_row(const svl_cli_table_t *table, const char *const *cells, int titles, apr_pool_t *p)
{
    int limit = table->fitted ? svl_cli_terminal_columns() : 0;
    int at = 0; /* where the line is */
    int next =
        0; /* where the next cell begins: blanks are written before a cell that is not empty, so that no line ends with them */

    for (int i = 0; i < table->columns && (!limit || next < limit); i++) {
        const char *cell = cells[i] ? cells[i] : "";

        if (*cell) {
            int painted = !titles && i == table->painted && svl_cli_terminal_has_colours();

            cell = limit ? svl_cli_shorten(p, cell, limit - next) : cell;
            printf("%*s%s%s%s", next - at, "", painted ? colour_of(cells[i]) : "", cell, painted ? PLAIN : "");
            at = next + width_of(cell);
        }
        next += table->widths[i] + GAP;
    }
    putchar('\n');
}

void svl_cli_table_print(svl_cli_table_t *table)
{
    apr_pool_t *row;

    apr_pool_create(&row, table->rows->pool);
    if (!table->printed) {
        print_row(table, table->titles, 1, row);
        table->printed = 1;
    }
    for (int i = 0; i < table->rows->nelts; i++) {
        print_row(table, APR_ARRAY_IDX(table->rows, i, const char *const *), 0, row);
        apr_pool_clear(row);
    }
    apr_pool_destroy(row);
    apr_array_clear(table->rows);
}
