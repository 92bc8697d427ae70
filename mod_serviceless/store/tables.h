/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/tables.h
 * @brief Inside of the store, and the only place that includes lmdb.h: the open log, its LMDB environment, and the gate
 * before it.
 *
 * LMDB by the book: never held across fork, one handle a process and path, MDB_NOTLS, no WRITEMAP, data synced before the
 * meta page when durable.  Not durable means MDB_NOSYNC: kill -9 loses nothing, a crash of the operating system may tear the
 * file.
 *
 * The gate counts this process's read transactions, because the map may be moved (a graceful restart enlarged it) and the
 * environment opened anew (a meta page could not be written) only while there are none.  So a thread that holds a reader must
 * not call what commits: whoever moves the map would wait for it, SVL_ENV_CALM at most, and then fail.
 */
#ifndef SVL_STORE_TABLES_H
#define SVL_STORE_TABLES_H

#include <lmdb.h>
#include <pthread.h>
#include <sys/types.h>

#include "../core/guard.h"
#include "records.h"

typedef enum {
    SVL_TABLE_TOP, /* LMDB's own, without a name; beside these there is "meta", with the format */
    SVL_TABLE_CALLS,
    SVL_TABLE_IDS,
    SVL_TABLE_STREAMS,
    SVL_TABLE_NUMBERS,
    SVL_TABLE_WORK,
    SVL_TABLE_OUTCOMES,
    SVL_TABLE_ALIASES,
    SVL_TABLE_EVERY,
    SVL_TABLE_COUNT
} svl_table_e;

#define SVL_ENV_EPOCHS 4         /**< text of so many epochs stays readable; a second one is rare already */
#define SVL_ENV_CALM 2           /**< seconds to wait for read transactions to end; they are meant to last microseconds */
#define SVL_ENV_RESERVE_PARTS 16 /**< accepting stops this part below the bound … */
#define SVL_ENV_RESERVE_PAGES 64 /**< … or so many pages, if more: a commit copies about 20, and two wait to be reused */
#define SVL_RECENT_PLACES                                                                                                      \
    1024 /**< calls of recent.h at a time, of all processes; when they are taken, a transaction takes them */
#define SVL_RECENT_PAGES                                                                                                       \
    (3 * SVL_RECENT_PLACES)   /**< that committing them may copy, generously, since without them no transaction could
                                                      begin: each id may lie in a page of its own, below another, and be split */
#define SVL_RUNNING_ID 8      /**< bytes */
#define SVL_RUNNING_MORE 2048 /**< runs beyond those of its row that a process can take back one by one; 16 KiB */

typedef struct svl_commit_op_t svl_commit_op_t;
typedef struct svl_commit_late_t svl_commit_late_t;
typedef struct svl_ended_t svl_ended_t;
typedef struct svl_ended_copy_t svl_ended_copy_t;
typedef struct svl_recent_t svl_recent_t;
typedef struct svl_recent_copy_t svl_recent_copy_t;
typedef struct svl_journal_t svl_journal_t;

struct svl_store_t {
    svl_store_options_t options; /* strings are of pool */
    apr_pool_t *pool;
    pid_t pid; /* that opened it: a fork must not use or close it */
    int readonly;
    int loaded;                                      /* the environment is open and its tables are known */
    int in_use;                                      /* opened to be used: damage concerns other processes too */
    int starts;                                      /* prepared while nobody uses it: a server starts */
    int begun;                                       /* prepared and made just now, so that nobody can use it yet */
    int damaged;                                     /* not to be touched any more (damage.h); atomic */
    svl_records_node_t node;                         /* as of opening */
    apr_time_t lost;                                 /* when the log in whose place this one was begun was last used; 0: none */
    char epochs[SVL_ENV_EPOCHS][SVL_NAME_EPOCH + 1]; /* only the leader writes, never the one that is published */
    unsigned int epoch;                              /* the published one; atomic */
    apr_uint64_t owner;
    int owners;                               /* descriptor of the file in which byte `owner` is locked; -1 */
    unsigned char running_id[SVL_RUNNING_ID]; /* of the file of running.h that the log names; zeros: none */
    void *running;                            /* that file, mapped; NULL */
    apr_size_t running_size;
    svl_ended_t *ended;                      /* of that file: outcomes that the next transaction takes; NULL */
    svl_recent_t *recent;                    /* of that file: calls that the next transaction takes; NULL */
    svl_journal_t *journal;                  /* of that file: what is to be durable, on its way to the journal; NULL */
    int journal_fd;                          /* -1: what is to be durable is committed */
    int journal_failed;                      /* it could not be written; atomic */
    int restores;                            /* the next transaction takes what the journal has */
    int tight;                               /* the leader's: a transaction that was to take them had no room in the map */
    void *row;                               /* this owner's, of it; NULL: none was free */
    apr_uint32_t row_next;                   /* where the next run looks for a place; atomic */
    apr_uint64_t row_more[SVL_RUNNING_MORE]; /* runs that the row only counts, to take them back one by one; atomics */
    dev_t device;
    ino_t inode;
    int watched;        /* its entry of damage.c, from 1; 0: not watched */
    svl_store_t *other; /* next open log of this process */

    MDB_assert_func *assertion; /* called for LMDB's; NULL: that of a log in use */
    MDB_env *env;               /* NULL: opening it anew failed; only the leader and the gate's holder write it */
    MDB_dbi tables[SVL_TABLE_COUNT];
    apr_size_t page;    /* bytes */
    apr_uint64_t bound; /* pages that the log may have */
    apr_uint64_t swept; /* work records up to here were looked at by the last taking over; atomic */
    apr_uint64_t roved; /* entries up to here were looked at by the last pruning; atomic */
    apr_uint64_t due;   /* work records up to here were looked at for runs that are overdue; atomic */
    apr_uint64_t whole; /* last page of the file when it was last seen to be long enough; atomic */
    apr_uint64_t seen;  /* when it was last seen by svl_env_seen, nanoseconds; atomic */

    pthread_mutex_t gate;
    pthread_cond_t calm;
    unsigned int live; /* read transactions begun and not ended */
    int shut;
    svl_store_reader_t *idle; /* ended, with their slot of the reader table */

    pthread_mutex_t queue;  /* all below; never taken while gate is held */
    int led;                /* a thread is committing */
    svl_commit_op_t *first; /* waiting for the next transaction */
    svl_commit_op_t **end;
    apr_size_t queued;       /* bytes that these will write, about */
    unsigned int company;    /* transactions for which a lone leader expects others; only the leader reads and writes it */
    svl_commit_late_t *late; /* what goes with the next transaction */
    int ended_failed;        /* what is kept could not be committed: left alone until the next flush */
    apr_pool_t *scratch;     /* the leader's, cleared after each transaction */
    apr_status_t trouble;    /* the leader's: logged last */

    pthread_mutex_t journal_queue; /* both below; no other is taken while it is held */
    int journal_led;               /* a thread is writing to the journal */
    struct svl_journal_wait_t *journal_first;
};

struct svl_store_reader_t {
    svl_store_t *store;
    MDB_txn *txn;
    MDB_cursor *cursor;      /* of calls */
    svl_ended_copy_t *ended; /* outcomes that were kept when it began; NULL: none */
    apr_uint32_t ended_count;
    svl_recent_copy_t *recent;               /* calls that were kept when it began; NULL: none */
    apr_uint32_t recent_count, recent_first; /* those from the first on are not in the snapshot */
    svl_store_reader_t *next;
};

/** svl_guard_enter and svl_guard_leave, where the options say that signals are a danger. */
static inline void svl_env_guard(const svl_store_t *store, sigset_t *saved)
{
    if (store->options.guard_signals) {
        svl_guard_enter(saved);
    }
}

static inline void svl_env_unguard(const svl_store_t *store, const sigset_t *saved)
{
    if (store->options.guard_signals) {
        svl_guard_leave(saved);
    }
}

/** @return the status that stands for a code of LMDB */
apr_status_t svl_env_status(int rc);

/** The same for a commit: LMDB says EIO when fewer bytes were written than it has, and that is how the last bytes of a full disk are taken.
 * @return APR_ENOSPC then */
apr_status_t svl_env_committed(const svl_store_t *store, int rc);

/** Opens store->env, creating data and lock file unless readonly.  @return a code of LMDB */
int svl_env_open(svl_store_t *store);
void svl_env_close(svl_store_t *store);
/** Sets the bound, and the size of the map, with room for what is kept (recent.h).  No transaction may be under way.
 * @return a code of LMDB */
int svl_env_fit(svl_store_t *store);

/** Opens the tables within @a txn, which must then be committed.  @return a code of LMDB */
int svl_env_tables(svl_store_t *store, MDB_txn *txn, int create);

/** Sees that the file is still there and has all pages that the log uses, since reading beyond its end is a SIGBUS, and what is
 * written to a file without a name is lost.  LMDB leaves pages at the end unwritten when they were freed in the transaction that
 * took them: those are added.  Within a write transaction, so that nobody else writes, or readonly.
 * @return MDB_CORRUPTED when the file was removed or a page in use is missing (readonly: when more than a few are) */
int svl_env_whole(svl_store_t *store);
/** The same for who is about to read, in any store: adds nothing. */
int svl_env_readable(const svl_store_t *store);
/** The same for who reads so often that the look itself costs: as it was seen within this tick of the kernel's clock (some ms).  Who cuts the
 * file within that tick ends the process that reads (damage.h), as who does between the look and the reading. */
int svl_env_seen(svl_store_t *store);

/** @return pages that accepting leaves to outcomes, work and pruning */
apr_uint64_t svl_env_reserve(const svl_store_t *store);

/** Counts free pages (also those that a reader may still see).  LMDB shows its list of them to read transactions only.
 * @param from counts from this page on  @return a code of LMDB */
int svl_env_free(MDB_txn *txn, apr_uint64_t from, apr_uint64_t *pages);
/** The same for who has a write transaction. */
int svl_env_free_now(svl_store_t *store, apr_uint64_t from, apr_uint64_t *pages);

/** Begins what must not meet a moving map.
 * @param idle receives a reader that has ended, with its slot of the reader table, or NULL; NULL: none is wanted
 * @return APR_SUCCESS or APR_EGENERAL when there is no environment */
apr_status_t svl_env_enter(svl_store_t *store, svl_store_reader_t **idle);
/** The same for who holds a lock that other processes want: APR_EGENERAL also while the map is about to move. */
apr_status_t svl_env_enter_now(svl_store_t *store, svl_store_reader_t **idle);
/** Ends it.  @param ended reader for the next one, reset; may be NULL */
void svl_env_leave(svl_store_t *store, svl_store_reader_t *ended);

/** Does what MDB_MAP_RESIZED, MDB_PANIC, and for what is kept MDB_MAP_FULL (@a rc) ask for, when the last read transaction has ended.  For the leader. */
apr_status_t svl_env_mend(svl_store_t *store, int rc);

/** Frees the readers that wait for use. */
void svl_env_forget_readers(svl_store_t *store);

/** Initialises and destroys the gate. */
void svl_env_gate_make(svl_store_t *store);
void svl_env_gate_destroy(svl_store_t *store);

#endif
