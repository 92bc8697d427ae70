/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file httpd/directives.h
 * @brief The one list of directives: name, setter, default, merge and documentation of each come from its row.
 *
 * A setter parses one line and leaves a setting; what needs more than one line to judge is judged in svl_config_check.
 * t/guard/directives.t holds this list, conf/serviceless.conf and docs/directives.md together.
 */
#ifndef SVL_HTTPD_DIRECTIVES_H
#define SVL_HTTPD_DIRECTIVES_H

#include <httpd.h>
#include <http_config.h>

#include "../store/store.h"

#ifndef SVL_DEFAULT_STATEDIR
#define SVL_DEFAULT_STATEDIR "/var/lib/apache2/serviceless" /* configure --with-statedir */
#endif

#define SVL_MSEC APR_INT64_C(1000) /* microseconds */
#define SVL_SECOND (1000 * SVL_MSEC)
#define SVL_MINUTE (60 * SVL_SECOND)
#define SVL_HOUR (60 * SVL_MINUTE)
#define SVL_KILO APR_INT64_C(1024)
#define SVL_MEGA (1024 * SVL_KILO)
#define SVL_GIGA (1024 * SVL_MEGA)

#define SVL_CONNECTIONS_MAX 1000        /* threads of one child: more is a mistake of units */
#define SVL_TIMEOUT_MAX (24 * SVL_HOUR) /* a longer one is none */
#define SVL_TOLERANCE_MIN SVL_SECOND    /* webhook-timestamp counts seconds */
#define SVL_TOLERANCE_MAX (24 * SVL_HOUR)
#define SVL_RETENTION_MAX (366 * 24 * SVL_HOUR)
#define SVL_SYNC_MIN (100 * SVL_MSEC) /* below, nodes would only talk to each other */
#define SVL_SYNC_MAX SVL_HOUR
#define SVL_BODY_MIN SVL_KILO                 /* room for the longest names and a few arguments */
#define SVL_BODY_MAX SVL_GIGA                 /* a body is held in memory */
#define SVL_STORE_SIZE_MAX (16384 * SVL_GIGA) /* of address space, where the file is mapped */

/*
 * ROW(symbol, name, arguments, setter, merge, place, least, most, default, syntax, summary)
 *
 * arguments  VALUE: one, the last line counts; LINES: words, lines add up within a server
 * setter     set_<setter> of directives.c; least and most are its bounds (microseconds, bytes or a count)
 * merge      REPLACE: a virtual host's replaces the main server's; ADD: they add up; OWN: never inherited
 * place      NODE: only where ServicelessNodes is; ANY: also elsewhere; MAIN: not in a virtual host
 * default    what an unset directive means, parsed by the setter; NULL: none
 */
/* clang-format off */
#define SVL_DIRECTIVES(ROW)                                                                                                  \
    ROW(KEY_FILE, "ServicelessKeyFile", VALUE, file, OWN, NODE, 0, 0, NULL,                                                  \
        "path", "the keys of the fleet, one a line: id whsec_... [permission ...]")                                          \
    ROW(NODES, "ServicelessNodes", LINES, nodes, OWN, ANY, 0, 0, NULL,                                                       \
        "[name=]url ...", "all nodes of the fleet, this one included")                                                       \
    ROW(SELF, "ServicelessSelf", VALUE, node, OWN, NODE, 0, 0, "auto",                                                       \
        "name|auto", "which of the nodes this one is")                                                                       \
    ROW(NODE_SET, "ServicelessNodeSet", LINES, node_set, REPLACE, NODE, 0, 0, NULL,                                          \
        "set name ...", "a named subset of the nodes; the set all is always there")                                          \
    ROW(PATH, "ServicelessPath", VALUE, url_path, REPLACE, NODE, 0, 0, "/serviceless",                                       \
        "/path", "path of the endpoint on the peers")                                                                        \
    ROW(MODE, "ServicelessMode", VALUE, mode, REPLACE, NODE, 0, 0, "bounce",                                                 \
        "bounce|broadcast|tree[:K]", "the way of a call through the fleet")                                                  \
    ROW(HEADER, "ServicelessHeader", LINES, header, ADD, NODE, 0, 0, NULL,                                                   \
        "name value", "a header sent with every request to a peer")                                                          \
    ROW(SIMULTANEOUS, "ServicelessSimultaneousRequests", VALUE, number, REPLACE, NODE, 1, SVL_CONNECTIONS_MAX, "10",         \
        "number", "requests to peers at the same time, per child process")                                                   \
    ROW(LINKS, "ServicelessLinks", VALUE, links, REPLACE, NODE, 0, 0, "on",                                                  \
        "on|peers|off", "upgrade connections, so that messages of nodes, and calls of clients, need no request each")        \
    ROW(CONNECT_TIMEOUT, "ServicelessConnectTimeout", VALUE, duration, REPLACE, NODE, SVL_MSEC, SVL_TIMEOUT_MAX, "2s",       \
        "duration", "how long connecting to a peer may take")                                                                \
    ROW(TIMEOUT, "ServicelessTimeout", VALUE, duration, REPLACE, NODE, SVL_MSEC, SVL_TIMEOUT_MAX, "10s",                     \
        "duration", "how long a whole request to a peer may take")                                                           \
    ROW(TOLERANCE, "ServicelessTolerance", VALUE, duration, REPLACE, NODE, SVL_TOLERANCE_MIN, SVL_TOLERANCE_MAX, "300s",     \
        "duration", "how far the clocks of caller and node may differ")                                                      \
    ROW(MAX_BODY, "ServicelessMaxBody", VALUE, size, REPLACE, NODE, SVL_BODY_MIN, SVL_BODY_MAX, "1m",                        \
        "size", "largest body of a call, and of a peer's response")                                                          \
    ROW(STATE_DIR, "ServicelessStateDir", VALUE, file, REPLACE, MAIN, 0, 0, SVL_DEFAULT_STATEDIR,                            \
        "path", "directory of the logs, one sub-directory a node")                                                           \
    ROW(STORE_SIZE, "ServicelessStoreSize", VALUE, size, REPLACE, NODE, SVL_STORE_SIZE_MIN, SVL_STORE_SIZE_MAX, "1g",        \
        "size", "upper bound of the log on disk")                                                                            \
    ROW(DURABILITY, "ServicelessDurability", VALUE, durability, REPLACE, NODE, 0, 0, "fsync",                                \
        "fsync|async", "survive a power cut, or a crash of httpd only")                                                      \
    ROW(RETENTION, "ServicelessRetention", VALUE, duration, REPLACE, NODE, SVL_SECOND, SVL_RETENTION_MAX, "24h",             \
        "duration", "how long calls are kept for peers and against replays")                                                 \
    ROW(SYNC_INTERVAL, "ServicelessSyncInterval", VALUE, interval, REPLACE, NODE, SVL_SYNC_MIN, SVL_SYNC_MAX, "5s",          \
        "duration", "how often nodes compare what they have; 0: never")                                                      \
    ROW(FUNCTION, "ServicelessFunction", LINES, function, ADD, NODE, SVL_MSEC, SVL_TIMEOUT_MAX, NULL,                        \
        "name [nodes=set] [mode=m] [timeout=t] [on_crash=rerun|quarantine] [allow=keyid,...]",                               \
        "the administrator's word on a function, over the companion's")                                                      \
    ROW(ACCEPT, "ServicelessAccept", VALUE, accept, REPLACE, NODE, 0, 0, "off",                                              \
        "django|off", "also take Django's signed tokens")                                                                    \
    ROW(TLS_CA, "ServicelessTLSCACertificateFile", VALUE, file, REPLACE, NODE, 0, 0, NULL,                                   \
        "path", "certificates of the CAs that https peers are verified by")                                                  \
    ROW(TLS_CERTIFICATE, "ServicelessTLSCertificateFile", VALUE, file, REPLACE, NODE, 0, 0, NULL,                            \
        "path", "client certificate for https peers")                                                                        \
    ROW(TLS_KEY, "ServicelessTLSCertificateKeyFile", VALUE, file, REPLACE, NODE, 0, 0, NULL,                                 \
        "path", "private key of the client certificate")
/* clang-format on */

#define SVL_DIRECTIVE_SYMBOL(symbol, ...) SVL_DIRECTIVE_##symbol,
typedef enum { SVL_DIRECTIVES(SVL_DIRECTIVE_SYMBOL) SVL_DIRECTIVE_COUNT } svl_directive_e;
#undef SVL_DIRECTIVE_SYMBOL

typedef enum { SVL_MERGE_REPLACE, SVL_MERGE_ADD, SVL_MERGE_OWN } svl_directive_merge_e;
typedef enum { SVL_PLACE_ANY, SVL_PLACE_NODE, SVL_PLACE_MAIN } svl_directive_place_e;

/** One line of a directive that takes words. */
typedef struct svl_directive_line_t {
    const char *const *words;
    int count;
    const char *where; /**< "line 3 of /etc/…" */
    int own;           /**< stands on this server; 0: inherited */
} svl_directive_line_t;

/** What a directive was given on one server.  All zero: unset, which is a value of its own, so that virtual hosts inherit. */
typedef struct svl_setting_t {
    int is_set;
    int own;                   /**< stands on this server; 0: inherited, or the default */
    const char *text;          /**< as given; VALUE only; files: absolute */
    const char *where;         /**< of the last line; NULL for a default */
    apr_int64_t number;        /**< microseconds, bytes, count, arity, or place in the table of words */
    apr_array_header_t *lines; /**< svl_directive_line_t; LINES only */
} svl_setting_t;

/** A row. */
typedef struct svl_directive_t {
    const char *name;
    /** Judges and parses a line; VALUE has one word.  @a culprit is the first word, and may be set to another one.
     * @return NULL, or what would be right */
    const char *(*set)(const struct svl_directive_t *directive, svl_setting_t *setting, const svl_directive_line_t *line,
                       const char **culprit, apr_pool_t *p);
    int takes_lines;
    svl_directive_merge_e merge;
    svl_directive_place_e place;
    apr_int64_t least, most;
    const char *fallback; /**< default, or NULL */
    const char *syntax;
    const char *summary;
} svl_directive_t;

extern const svl_directive_t svl_directives[SVL_DIRECTIVE_COUNT];

/** Places in the tables of words. */
enum { SVL_DURABILITY_FSYNC, SVL_DURABILITY_ASYNC };
enum { SVL_ACCEPT_OFF, SVL_ACCEPT_DJANGO };
enum { SVL_LINKS_OFF, SVL_LINKS_PEERS, SVL_LINKS_ON };

/** @return a value as a message may show it: escaped, cut, without secrets */
const char *svl_directive_shown(const char *value, apr_pool_t *p);

/** @return a sentence that names a directive, a value (shown as above; NULL: none) and what would be right */
const char *svl_directive_fault(svl_directive_e directive, const char *value, const char *where, const char *right,
                                apr_pool_t *p);

/** Parses a duration of httpd's, from @a least to @a most microseconds.  @return NULL, or what would be right */
const char *svl_directive_duration(apr_int64_t *micros, const char *text, apr_int64_t least, apr_int64_t most, apr_pool_t *p);

/** @return "300s": the largest unit that divides it */
const char *svl_directive_duration_text(apr_int64_t micros, apr_pool_t *p);

#endif
