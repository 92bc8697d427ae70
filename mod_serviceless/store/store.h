/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/store.h
 * @brief The log of a node, in LMDB: dedupe, durability and repair in one place.
 *
 * Every entry has a position, 1, 2, 3 … in order of arrival.  What is still to do with entries (to run, to relay) is kept as
 * `work`, one record for the entries that one accept appended together, with the child that owns it.  store/records.h draws
 * the tables.
 *
 * One process opens a directory at most once, after fork.  Concurrent callers in a process share commits.  A thread that
 * holds a reader must not call anything that commits, nor begin a second reader: when another process has enlarged the log,
 * this one has to wait for its readers to end before it can go on.
 */
#ifndef SVL_STORE_STORE_H
#define SVL_STORE_STORE_H

#include <apr_hash.h>
#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

#include "../core/call.h"
#include "../core/log.h"
#include "../core/name.h"
#include "../core/vector.h"

#define SVL_STORE_BATCH_MAX 1024     /**< entries under one work record; a larger batch gets several, as the store alone sees */
#define SVL_STORE_SIZE_MIN (1 << 20) /**< bytes; below, the reserve is no use */
#define SVL_STORE_LOOKS_MAX                                                                                                    \
    10000 /**< records that one call of taking over or pruning walks over in vain, at most: milliseconds */
#define SVL_STORE_ROUTE_RING "*" /**< an origin's route, the whole ring of the call's set: costs the same in any fleet */

typedef struct svl_store_t svl_store_t;

typedef struct svl_store_options_t {
    const char *directory; /**< of this node alone */
    const char *node;      /**< its name, kept in the file; another one is refused */
    apr_uint64_t size;     /**< bytes; upper bound of the file */
    int durable;           /**< nonzero: fsync before svl_store_accept returns */
    unsigned int readers;  /**< read transactions at the same time, of all processes */
    unsigned int processes; /**< that may have it open at the same time */
    int guard_signals;     /**< nonzero: block signals inside (prefork destroys pools in the signal handler) */
    int set_aside_damaged; /**< nonzero: svl_store_prepare reads the log first (store/verify.h), and sets a damaged one aside and begins
                                a new one, instead of refusing; unless somebody uses it: then it tells them by a mark, and refuses */
    const svl_log_t *log;
    struct svl_store_prepared_t *prepared; /**< out, of svl_store_prepare; may be NULL */
} svl_store_options_t;

/** By which somebody who remembers a position of a log can tell whether this is still that one. */
typedef struct svl_store_prepared_t {
    apr_time_t created; /**< when it was begun */
    apr_uint64_t last;  /**< position of its newest entry that is committed, smaller where an older copy was put back */
} svl_store_prepared_t;

/** For the parent: creates directory and file when missing, checks format and node name, begins an epoch when there is none, and
 * another one when a server starts (nobody uses the log), closes again, and gives directory and files to @a uid and @a gid (when running as root; -1: leave), under
 * whose rights it then works (seteuid), so that it also finds out whether the children will be able to.
 * @param error on failure a sentence that names the directory and what to do
 * @return APR_SUCCESS, SVL_EOWNER, SVL_EDAMAGED, APR_EBUSY (this process has it open), or a system error */
apr_status_t svl_store_prepare(const svl_store_options_t *options, apr_int64_t uid, apr_int64_t gid, const char **error,
                               apr_pool_t *p);

/** For a child (and for tests): opens the log and takes a fresh owner number, whose byte of the directory's `owners` file
 * stays locked (fcntl) until the store is closed or the process ends: that is how others see that an owner lives.  Closed by
 * a cleanup of @a p.  Thread-safe.
 * @return APR_SUCCESS; APR_ENOENT when it was not prepared; APR_EBUSY when this process has it open; SVL_EOWNER,
 *         SVL_EDAMAGED; … */
apr_status_t svl_store_open(svl_store_t **store, const svl_store_options_t *options, apr_pool_t *p);

/** @return this process's owner number; the current epoch, as of this process's last transaction (borrowed) */
apr_uint64_t svl_store_owner(const svl_store_t *store);
const char *svl_store_epoch(const svl_store_t *store);

/** @return nonzero when a call issued at @a issued (milliseconds since 1970) that is new to this log may have run here nevertheless: this
 * log was begun in place of another one, which was lost later than that (or so little before that clocks leave it open) */
int svl_store_may_have_run(const svl_store_t *store, apr_int64_t issued);

/** @return nonzero when the process that got number @a owner has the log open still (or when that cannot be known) */
int svl_store_owner_lives(const svl_store_t *store, apr_uint64_t owner);

typedef enum {
    SVL_STORE_NEW,             /**< appended; with `refused`: the number is covered now */
    SVL_STORE_DUPLICATE,       /**< this id at this number, or an own id (contents are not compared: only the caller knows
                                    whether its client named a set), is here; nothing was written; position: the first one's */
    SVL_STORE_ALIAS,           /**< the id is here under another number with equal content: appended and covered, never run */
    SVL_STORE_CONFLICT,        /**< the id is here with other content: number covered, refused */
    SVL_STORE_STREAM_CONFLICT, /**< the number is here with another id: refused; nothing was written; position: the other one's.
                                    Not for this node's own numbers: then the call was given a number of the current epoch,
                                    begun for it if need be, and is NEW */
    SVL_STORE_SCATTERED,       /**< its stream would have more gaps than SVL_VECTOR_RANGES_MAX: refused until lower ones came; nothing was
                                    written */
    SVL_STORE_COVERED          /**< the number is covered, its entry not held any more (pruned): a duplicate; position is 0 */
} svl_store_verdict_e;

/** One call to be accepted.  Text is borrowed until svl_store_accept returns. */
typedef struct svl_store_entry_t {
    const char *id;
    const char *origin, *set;
    const char *epoch;      /**< NULL: an own call, which gets the current epoch and the next number of origin/set */
    apr_uint64_t seq;       /**< in for foreign calls, out for own ones */
    apr_int64_t issued;     /**< milliseconds */
    apr_int64_t ttl;        /**< seconds */
    svl_call_draft_t draft; /**< own calls: the stamp goes between head and tail; foreign ones: head is the whole line */
    int run;                /**< nonzero: this node is in the set and shall run it */
    int every;              /**< nonzero: and every child process of it (svl_store_every) */
    int refused;        /**< nonzero: the caller refuses it; only its number is covered (outcome refused); not for own calls */
    const char *reason; /**< with refused: why, in words, for the log; may be NULL */
    /* out */
    svl_store_verdict_e verdict;
    apr_uint64_t position;
    int unrouted; /**< of a duplicate that a batch with a route brings: it is the first one that does, so nobody has handed the call on */
    char stamped[SVL_NAME_EPOCH + 1]; /**< the epoch it has */
} svl_store_entry_t;

/** Calls that came together, with the route they still have to take. */
typedef struct svl_store_batch_t {
    svl_store_entry_t *entries;
    apr_uint32_t count;
    const char *route; /**< names joined by one space; SVL_STORE_ROUTE_RING; NULL: nothing to relay */
    apr_uint32_t arity;
    /* out: the NEW and ALIAS entries have consecutive positions first … first + appended - 1, in their order; those of
     * refused ones and of conflicts come after them and are not counted */
    apr_uint64_t first;
    apr_uint32_t appended;
} svl_store_batch_t;

/** Accepts: one transaction for all batches, and for those of other threads that wait (group commit).  Returns once committed
 * (durable: synced); or, where the log is not durable and it is one simple call, once that is as safe, beside the log (recent.h).  Work
 * records are made with this process as owner: `run` entries are to be run, a route is to be relayed.
 * @param now microseconds since 1970 (arrival)
 * @return APR_SUCCESS (verdicts are per entry); SVL_EFULL (a full log still answers for calls that it holds); APR_EINVAL for
 *         entries beyond the grammar; another status: the log failed.  Without success nothing was accepted, but for a failure while syncing, when it is not
 *         known. */
apr_status_t svl_store_accept(svl_store_t *store, svl_store_batch_t *batches, apr_uint32_t count, apr_time_t now);

/** How a run ended. */
typedef struct svl_store_outcome_t {
    apr_uint64_t position;
    svl_outcome_e outcome;
    apr_int64_t micros; /**< how long the run took */
    apr_time_t ended;
    const char *text; /**< ok: JSON of the result (NULL: null); else words (may be NULL); borrowed until return */
    apr_size_t length;
} svl_store_outcome_t;

/** Records outcomes and takes the runs off the work records, in one transaction (group commit).  Returns once committed; or, where the log
 * is not durable and they are few and short, once they are as safe, beside the log (ended.h): readers see them, whoever takes over
 * knows of them, and the next commit or svl_store_flush takes them.
 * The first outcome of an entry stands; one for a position that is not held is dropped.
 * Where the log has no room for the texts, the outcomes are recorded without them: a call that ran must not count as pending.
 * @return a failure: they could not be recorded; they are kept, without long texts, for the next svl_store_flush that can */
apr_status_t svl_store_finish(svl_store_t *store, const svl_store_outcome_t *outcomes, apr_uint32_t count);

/** The same, but does not wait: they are copied and go with the next commit, or svl_store_flush.  Until then the calls are
 * pending, and run again when the process is killed.  Saves a commit a call where that is allowed. */
apr_status_t svl_store_finish_later(svl_store_t *store, const svl_store_outcome_t *outcomes, apr_uint32_t count);

/** Commits that the run at @a position starts (for functions with on_crash quarantine).
 * @return APR_NOTFOUND when nothing is to be run there (any more) */
apr_status_t svl_store_start(svl_store_t *store, apr_uint64_t position);

/** Notes, where those who take over find it, that the run at @a position begins, and, once its outcome is recorded, that it is over.
 * Between the two the run may have done something: so one that is cut short there is a rerun.  Costs no system call.
 * @return a mark for svl_store_running_end; may be NULL, which that takes too */
apr_uint64_t *svl_store_running_begin(svl_store_t *store, apr_uint64_t position);
void svl_store_running_end(svl_store_t *store, apr_uint64_t *mark);

/** The route of the batch that holds position @a first is done, whatever its size.  Does not wait: it goes with the next
 * commit, or svl_store_flush. */
void svl_store_relayed(svl_store_t *store, apr_uint64_t first);

/** Commits what waits, and clears the slots of dead readers.  The maintenance thread calls it each second. */
apr_status_t svl_store_flush(svl_store_t *store);

/** Commits what is kept beside the log (recent.h, ended.h), for who is about to read what only the log has: work, streams, numbers
 * (svl_store_vector, svl_store_lines, svl_store_last_number).  Where that fails, which is logged, they see the log without it. */
void svl_store_settle(svl_store_t *store);

/** An entry, read.  Text points into the map and is valid until svl_store_read_end. */
typedef struct svl_store_record_t {
    apr_uint64_t position;
    apr_time_t arrived;
    apr_int64_t expires; /**< milliseconds since 1970: issued and ttl */
    const char *line;    /**< NULL for a refused number, and for what was missed (outcome missed; the text is JSON) */
    apr_size_t length;
    const char *refused; /**< a refused number's id, not terminated; else NULL */
    apr_size_t refused_length;
    int alias;             /**< it came after another entry with this id, which may be pruned meanwhile */
    svl_outcome_e outcome; /**< without one: pending, or accepted where this node is not to run it (aliases too) */
    apr_int64_t micros;
    apr_time_t ended;
    const char *text; /**< as in svl_store_outcome_t; not terminated */
    apr_size_t text_length;
    int dropped;              /**< nonzero: there was a text, but no room for it */
} svl_store_record_t;

/** A read transaction.  Short: it keeps old pages from being reused.  May be begun and ended in different threads, one at a
 * time. */
typedef struct svl_store_reader_t svl_store_reader_t;
apr_status_t svl_store_read_begin(svl_store_reader_t **reader, svl_store_t *store);
/** The same, and cheaper, for who asks svl_store_get only for entries from @a first (above 0) on and below @a end, or
 * svl_store_is_full; nothing else. */
apr_status_t svl_store_read_range(svl_store_reader_t **reader, svl_store_t *store, apr_uint64_t first, apr_uint64_t end);
void svl_store_read_end(svl_store_reader_t *reader);

/** @return APR_SUCCESS or APR_NOTFOUND */
apr_status_t svl_store_find(svl_store_reader_t *reader, const char *id, apr_uint64_t *position);
/** @param with_outcome 0: the outcome may be pending though there is one, which is cheaper; that calls were missed is told all the same */
apr_status_t svl_store_get(svl_store_reader_t *reader, apr_uint64_t position, int with_outcome, svl_store_record_t *record);

/** A place in the list of what every child process is to run. */
typedef struct svl_store_listing_t {
    apr_uint64_t position;
    apr_uint64_t entry;    /**< the entry to run: at this position, or announced again here */
    apr_uint64_t previous; /**< where that was listed before; 0: nowhere */
} svl_store_listing_t;

/** What every child process is to run, in order of position: entries accepted with `every`, those of svl_store_give_up that tell such a
 * function, and announcements.  Entries are listed as long as they are held, whatever their outcome.
 * @param listing in: position, of the last one; out: the next one
 * @return APR_SUCCESS or APR_NOTFOUND at the end */
apr_status_t svl_store_every(svl_store_reader_t *reader, svl_store_listing_t *listing);

#define SVL_STORE_ANNOUNCED_MAX 2 /**< times that an entry is announced again, so that a call that ends every child ends no more */

/** Where an entry is listed.
 * @param position its own; that at which it was announced last; 0: it is not listed
 * @return APR_SUCCESS, or the log failed */
apr_status_t svl_store_listed(svl_store_reader_t *reader, apr_uint64_t entry, apr_uint64_t *position);

/** Lists an entry for every child once more, or for the first time, behind all that is there: no child that lives is as old as it.
 * @param position where
 * @return APR_NOTFOUND: it is not held any more; APR_EEXIST: it was announced often enough; or the log failed */
apr_status_t svl_store_announce(svl_store_t *store, apr_uint64_t entry, apr_uint64_t *position);

/** @param position of the newest entry; 0: there was none yet */
apr_status_t svl_store_last(svl_store_reader_t *reader, apr_uint64_t *position);

/** The next entry after @a record->position (backwards: before it; 0: from the end), with or without its outcome (without: as
 * if there were none).
 * @return APR_SUCCESS or APR_NOTFOUND at the end */
apr_status_t svl_store_next(svl_store_reader_t *reader, int backwards, int with_outcome, svl_store_record_t *record);

/** @return nonzero when accepting would answer SVL_EFULL */
int svl_store_is_full(svl_store_reader_t *reader);

typedef struct svl_store_counts_t {
    apr_uint64_t calls;   /**< entries held */
    apr_uint64_t last;    /**< position of the newest */
    apr_uint64_t work;    /**< work records */
    apr_uint64_t pending; /**< runs not ended */
    apr_uint64_t bytes;   /**< used of the file */
    apr_uint64_t size;    /**< bound */
    apr_uint64_t commits; /**< transactions so far, of all processes: far fewer than calls when they are shared */
    apr_time_t oldest;    /**< arrival of the oldest entry; 0: none */
} svl_store_counts_t;
apr_status_t svl_store_count(svl_store_reader_t *reader, svl_store_counts_t *counts);

/** A run that a dead owner left. */
typedef struct svl_store_orphan_t {
    apr_uint64_t position;
    int started;           /**< nonzero: svl_store_start was committed for it */
    int interrupted;       /**< nonzero: its process was running it when it ended this time, or may have been */
    unsigned int attempts; /**< how often it was interrupted, this time included; at most 63 */
} svl_store_orphan_t;

/** What a dead owner left of one batch: positions first … first + count - 1. */
typedef struct svl_store_orphans_t {
    apr_uint64_t first;
    apr_uint32_t count;
    const char *route; /**< as in svl_store_batch_t; NULL: nothing to relay (any more) */
    apr_uint32_t arity;
    apr_array_header_t *runs; /**< svl_store_orphan_t; those still to do, ascending */
} svl_store_orphans_t;

/** @return nonzero when @a owner, which is dead now, was running @a position when it ended.  Asked within the transaction, perhaps
 * in another thread and more than once: it must be quick, and must not use the log. */
typedef int svl_store_was_running_t(void *baton, apr_uint64_t owner, apr_uint64_t position);

/** That of what svl_store_running_begin noted.  @param store an svl_store_t
 * @return also nonzero when nothing is known of that owner, as after a reboot */
int svl_store_was_running(void *store, apr_uint64_t owner, apr_uint64_t position);

/** Takes work of dead owners over, in one transaction, so that no two processes get the same: it is this process's then.  Runs
 * that were started (svl_store_start) or running (@a was_running says so) count one attempt more.
 * Without dead owners and anything that is kept (recent.h) it only reads, a bounded part of the work records, and goes on there at the
 * next call; so "nothing" means nothing found yet.  To be called each second.
 * @param was_running NULL: every run counts as running
 * @param limit work records at most; a batch whose route is to be relayed is not torn, so it may be exceeded by one batch
 * @param batches svl_store_orphans_t, of @a p; empty when there is nothing or on failure
 * @return APR_SUCCESS, or a failure of the log, without which nothing was taken */
apr_status_t svl_store_take_over(svl_store_t *store, svl_store_was_running_t *was_running, void *baton, int limit,
                                 apr_array_header_t **batches, apr_pool_t *p);

/** Removes the oldest entries (by position) that were issued or arrived before @a before and have no work to do, in one
 * transaction.  Their numbers stay covered; an id is forgotten with its last line.  Works on a full log, where it may take
 * several calls: call it until @a pruned is 0.  Entries with work, and younger ones, are passed over, a bounded number of them.  Each
 * call looks at the first ones, and goes on where the last call ended, so that what is old behind many young ones is found in time.
 * @param before microseconds since 1970  @param limit entries at most  @param pruned how many were removed
 * @return APR_SUCCESS, or a failure of the log */
apr_status_t svl_store_prune(svl_store_t *store, apr_time_t before, unsigned int limit, unsigned int *pruned);

/** Forgets streams that hold nothing any more, are superseded by a stream of the same origin and set (whose newest call is younger,
 * or as old while the stream came later; of this node's own, by that of the current epoch), and whose newest call was issued or
 * arrived before @a before, or, if none was ever seen, was given up before it.  Their numbers are not known as covered any more, so
 * @a before lies beyond the age at which lines are refused.
 * @param limit streams at most  @param forgotten how many */
apr_status_t svl_store_forget_streams(svl_store_t *store, apr_time_t before, unsigned int limit, unsigned int *forgotten);

/** The version vector of some sets.  Streams that svl_store_forget_streams would forget in time are left out.
 * @param vector stream name to svl_vector_numbers_t *
 * @param pruned stream name to apr_uint64_t *: numbers up to it are not held any more; streams with 0 are left out */
apr_status_t svl_store_vector(svl_store_reader_t *reader, const char *const *sets, int count, apr_hash_t **vector,
                              apr_hash_t **pruned, apr_pool_t *p);

/** Takes an entry of a stream; @a record has no outcome.  @return nonzero to stop */
typedef int svl_store_line_t(void *baton, apr_uint64_t number, const svl_store_record_t *record);

/** Arrivals after `from` and not after `to` (microseconds).  What is stamped later still arrived before the clock was set back. */
typedef struct svl_store_young_t {
    apr_time_t from, to;
} svl_store_young_t;

/** Shows the lines that are held of a stream, numbers @a first to @a last, ascending.  Refused numbers and gaps are left out,
 * and entries that are @a young.
 * @param stream origin/set/epoch
 * @return APR_SUCCESS, also for an unknown stream */
apr_status_t svl_store_lines(svl_store_reader_t *reader, const char *stream, apr_uint64_t first, apr_uint64_t last,
                             const svl_store_young_t *young, svl_store_line_t *line, void *baton);

/** Numbers of a stream that this node will never get. */
typedef struct svl_store_loss_t {
    const char *stream;       /**< origin/set/epoch; may be unknown here */
    apr_uint64_t first, last; /**< ranges that begin beyond the watermark are meant to be short: each number costs */
    apr_uint64_t missed;      /**< out: how many of them were not covered */
} svl_store_loss_t;

typedef struct svl_store_losses_t {
    svl_store_loss_t *losses;
    apr_uint32_t count;
    const char *const *functions; /**< that are to be told */
    const unsigned char *every;   /**< one a function, nonzero: in every child process; NULL: none */
    apr_uint32_t function_count;
    int always; /**< nonzero: they are told even when nothing is missed */
    /* out */
    apr_uint64_t missed;   /**< in all */
    apr_uint64_t position; /**< of the entry for functions[0], the others follow; 0: nobody is to be told */
} svl_store_losses_t;

/** Gives numbers up, in one transaction: covers them, and logs how many were not covered as an entry of outcome `missed` with the
 * text {"calls":N} (and "stream":"…" when it was one); and for each function one more, with "function":"…", which is to be run
 * like a call, by this process first: svl_store_finish ends it, svl_store_take_over finds it when its owner has died.
 * So nobody is left untold by a crash.  When nothing was missed nothing is logged.
 * @param now microseconds since 1970
 * @return APR_SUCCESS; APR_EINVAL for no stream's name; SVL_EREFUSED when a stream would have more gaps than
 *         SVL_VECTOR_RANGES_MAX; a failure of the log.  Without success nothing was given up. */
apr_status_t svl_store_give_up(svl_store_t *store, svl_store_losses_t *losses, apr_time_t now);

/** Finds runs that are still to do, though their calls expired before @a now: a bounded part of the work records, and goes on
 * there at the next call.
 * @param now milliseconds since 1970
 * @param positions apr_uint64_t, of @a p  @return APR_SUCCESS, or a failure of the log */
apr_status_t svl_store_overdue(svl_store_t *store, apr_int64_t now, apr_array_header_t **positions, apr_pool_t *p);

/** A peer knows numbers up to @a number of a stream.  When it is this node's own, of the current epoch, and its last number is
 * lower, the log was rolled back: a new epoch begins, and the calls of the old one are to be logged there anew.  Own calls that any
 * process accepts from now on are in it, numbered from 1.
 * @param stream origin/set/epoch  @param begun nonzero: it was so */
apr_status_t svl_store_heard_of_own(svl_store_t *store, const char *stream, apr_uint64_t number, int *begun);

/** Goes on with logging calls of a superseded epoch anew.  Each keeps its position, and with it its outcome and work; its old number
 * is not covered any more.  Without such calls it only reads.
 * @param limit entries looked at  @param more nonzero: call it again */
apr_status_t svl_store_log_anew(svl_store_t *store, unsigned int limit, int *more);

/** @param number the last one of this node's own stream of a set in the current epoch; 0: none */
apr_status_t svl_store_last_number(svl_store_reader_t *reader, const char *set, apr_uint64_t *number);

/** Renames data.mdb, lock.mdb, owners and running of a log that nobody is to use any more to data.mdb.T and so on, T being seconds since
 * 1970; svl_store_prepare then begins a new one.  With the caller's rights.
 * @param aside the path of data.mdb.T; NULL when there was none */
apr_status_t svl_store_set_aside(const char *directory, const char **aside, apr_pool_t *p);

/** For the command: opens a node's log for reading only; never creates a file, and needs an existing lock.mdb.  A file that was cut
 * short by little is found out only by a SIGBUS, which the caller should catch.
 * @param error a sentence  */
apr_status_t svl_store_open_reader(svl_store_t **store, const char *directory, const char **node, const char **error,
                                   apr_pool_t *p);

#endif
