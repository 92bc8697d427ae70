/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core/frame.h
 * @brief What stands before a body on a link: one line that says what the headers of a request or a response would.
 *
 *   status SP length SP id SP timestamp SP key SP signature LF
 *
 * status is 0 in a message, and HTTP's in an answer; what is absent is a `-`.  The signature comes last, because it may be several, with
 * blanks between them.  What the fields say is for others to judge (svl_sign_verify).
 */
#ifndef SVL_CORE_FRAME_H
#define SVL_CORE_FRAME_H

#include <apr.h>

#define SVL_FRAME_LINE_MAX 1024 /**< bytes for a line with its LF, and a few more */

typedef struct svl_frame_t {
    int status;        /**< 0: a message */
    apr_size_t length; /**< of the body that follows */
    const char *id, *timestamp, *key, *signature; /**< NULL: absent */
} svl_frame_t;

/** @return the line's length, without a NUL; 0: it would be too long */
apr_size_t svl_frame_write(char line[SVL_FRAME_LINE_MAX], const svl_frame_t *frame);

/** @param line so many bytes, without the LF, and one more that may be written: it is cut into strings
 * @return nonzero when it is one */
int svl_frame_parse(svl_frame_t *frame, char *line, apr_size_t length);

#endif
