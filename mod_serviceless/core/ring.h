/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/ring.h
 * @brief The key ring: what a key file says.
 *
 * One key a line: `id whsec_<base64> [permission …]`; `#` begins a comment; blank lines are skipped.  Permissions are `relay`,
 * `call` and `call=glob` (apr_fnmatch, case sensitive); none given means all.  The first key that may relay signs; in a ring
 * without one (a client's) the first key does.  A node refuses a ring whose signer may not relay.
 */
#ifndef SVL_CORE_RING_H
#define SVL_CORE_RING_H

#include <apr_file_info.h>
#include <apr_pools.h>
#include <apr_tables.h>

#define SVL_RING_SECRET_MIN 24 /**< bytes; Standard Webhooks */
#define SVL_RING_SECRET_MAX 64 /**< bytes; Standard Webhooks */
#define SVL_RING_KEYS_MAX 64   /**< every key is tried against every entry, so this bounds the work of a refusal */
#define SVL_RING_PREFIX "whsec_"
/** Bytes of a secret as text, with its NUL. */
#define SVL_RING_TEXT (sizeof(SVL_RING_PREFIX) + (SVL_RING_SECRET_MAX + 2) / 3 * 4)
#define SVL_RING_FINGERPRINT 8 /**< hex digits of the secret's SHA-256: all that is ever shown of a key */

typedef struct svl_key_t {
    const char *id;               /**< grammar of an id */
    const unsigned char *secret;
    apr_size_t length;            /**< bytes of secret */
    int relay;                    /**< may relay, sync, and sign answers */
    apr_array_header_t *calls;    /**< const char *: globs of functions it may call; empty: none */
    char fingerprint[SVL_RING_FINGERPRINT + 1];
} svl_key_t;

/** Immutable; its secrets are wiped when its pool is cleared. */
typedef struct svl_ring_t {
    apr_array_header_t *keys;  /**< const svl_key_t *, in the file's order */
    const svl_key_t *signer;   /**< never NULL */
} svl_ring_t;

/** Parses the text of a key file.  @param error on failure a sentence with the line's number, never with key material
 * @return APR_SUCCESS or APR_EINVAL */
apr_status_t svl_ring_parse(const svl_ring_t **ring, const char *text, apr_size_t length, const char **error, apr_pool_t *p);

/** Judges the permissions of a key file.
 * @param warning a sentence when the group may read it, else NULL
 * @return NULL, or a sentence that says why it is refused: readable by all, writable by the group or all, no plain file */
const char *svl_ring_check_file(const apr_finfo_t *info, const char **warning, apr_pool_t *p);

/** @return nonzero when @a key may call @a function */
int svl_ring_may_call(const svl_key_t *key, const char *function);

/** Writes the secret of @a key as it stands in the key file, `whsec_…`.  The caller wipes it.  @return its length */
apr_size_t svl_ring_write_secret(const svl_key_t *key, char text[SVL_RING_TEXT]);

/** @return the key with this id, or NULL */
const svl_key_t *svl_ring_find(const svl_ring_t *ring, const char *id);

/** @param fingerprint as a stranger gave it; may be NULL
 * @return nonzero when it is 8 lower-case hex digits, and no key has them; the same work whichever key has */
int svl_ring_lacks(const svl_ring_t *ring, const char *fingerprint);

/** @return a key that both rings hold (same secret), or NULL */
const svl_key_t *svl_ring_shared(const svl_ring_t *one, const svl_ring_t *other);

/** Writes a new line for a key file, `id whsec_… permission …` without a newline, with 32 random bytes.
 * @param permissions const char *, each checked; may be empty  @return APR_SUCCESS or APR_EINVAL with @a error */
apr_status_t svl_ring_generate(const char **line, const char *id, const apr_array_header_t *permissions, const char **error,
                               apr_pool_t *p);

#endif
