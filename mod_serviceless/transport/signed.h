/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/signed.h
 * @brief Signed messages to peers and the judgement of their answers: what relay and sync have in common.
 */
#ifndef SVL_TRANSPORT_SIGNED_H
#define SVL_TRANSPORT_SIGNED_H

#include "../core/sign.h"
#include "link.h"
#include "peer.h"
#include "transport.h"

/** Fills the upper part of @a exchange with a message under a fresh id, signed now.  @a url and @a body are borrowed.
 * @param prefix of the id: "", or a few characters of its grammar
 * @param p lives until the exchange has been judged  @return APR_SUCCESS, or why it cannot be signed */
apr_status_t svl_signed_make(svl_transport_exchange_t *exchange, svl_signer_t *signer, const char *url, const char *prefix,
                             const char *body, apr_size_t length, apr_pool_t *p);

/** Asks a peer for a link (svl_link_open).  @param self the own node's name  @return nonzero when it is open */
int svl_signed_link(svl_link_t *link, svl_signer_t *signer, const char *self, const char *url, const char *address, int port,
                    apr_pool_t *p);

/** Judges how an exchange ended; notes the peer's clock.  Does not note the result.
 * @param peer the name that must have signed  @param tolerance seconds
 * @param words says why, when it is not SVL_PEER_OK
 * @return SVL_PEER_OK: an answer below 400, signed by a key that may relay; which of them is meant is the caller's to check */
svl_peer_result_e svl_signed_judge(const svl_transport_exchange_t *exchange, svl_signer_t *signer, const char *peer,
                                   svl_peer_state_t *state, apr_int64_t tolerance, const char **words, apr_pool_t *p);

/** Checks the signature of an answer that came whole, whatever its status; notes the peer's clock.
 * @return nonzero when it was signed for this request and by this peer, with a key that may relay */
int svl_signed_holds(const svl_transport_exchange_t *exchange, svl_signer_t *signer, const char *peer, svl_peer_state_t *state,
                     apr_int64_t tolerance, apr_pool_t *p);

/** @return what an operator should look at when a peer answered with this status, after "; "; else an empty string
 * @param held nonzero: the answer was signed, so that the node said it, and not its httpd or a proxy */
const char *svl_signed_advice(int status, int held);

#endif
