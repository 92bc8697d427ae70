/* SPDX-License-Identifier: Apache-2.0 */
#include "keyfile.h"

#include <apr_crypto.h>
#include <apr_file_io.h>
#include <apr_strings.h>

static apr_status_t fail(apr_status_t status, const char *path, const char *wrong, const char **error, apr_pool_t *p)
{
    char reason[120];

    if (!wrong) {
        wrong = apr_strerror(status, reason, sizeof(reason));
    }
    *error = apr_psprintf(p, "key file %s: %s", path, wrong);
    return status;
}

static apr_status_t judge(apr_status_t status, const apr_finfo_t *info, const char *path, const char **warning,
                          const char **error, apr_pool_t *p)
{
    const char *wrong;

    if (status != APR_SUCCESS && status != APR_INCOMPLETE) {
        return fail(status, path, NULL, error, p);
    }
    wrong = svl_ring_check_file(info, warning, p);
    if (!wrong && info->size > SVL_KEYFILE_MAX) {
        wrong = "it is larger than 64 KiB: that is no key file";
    }
    if (*warning) {
        *warning = apr_psprintf(p, "key file %s: %s", path, *warning);
    }
    return wrong ? fail(APR_EACCES, path, wrong, error, p) : APR_SUCCESS;
}

static apr_status_t read_text(char *text, apr_size_t *length, apr_file_t *file)
{
    /* one byte more than allowed: a file that grew since it was judged shows */
    apr_status_t status = apr_file_read_full(file, text, SVL_KEYFILE_MAX + 1, length);

    if (status == APR_SUCCESS) {
        return APR_ENOSPC;
    }
    return status == APR_EOF ? APR_SUCCESS : status;
}

apr_status_t svl_keyfile_read(const svl_ring_t **ring, const char *path, const char **warning, const char **error,
                              apr_pool_t *p)
{
    const apr_int32_t wanted = APR_FINFO_TYPE | APR_FINFO_PROT | APR_FINFO_SIZE;
    const char *wrong = NULL;
    apr_finfo_t info = {0};
    apr_pool_t *scratch;
    apr_file_t *file;
    apr_size_t length = 0;
    apr_status_t status;
    char *text;

    *ring = NULL;
    *warning = NULL;
    /* judged before it is opened, because opening a fifo would wait for ever; and as it is opened, because it may be another */
    status = judge(apr_stat(&info, path, wanted, p), &info, path, warning, error, p);
    if (status != APR_SUCCESS) {
        return status;
    }
    apr_pool_create(&scratch, p);
    status = apr_file_open(&file, path, APR_FOPEN_READ | APR_FOPEN_BINARY, APR_FPROT_OS_DEFAULT, scratch);
    if (status != APR_SUCCESS) {
        apr_pool_destroy(scratch);
        return fail(status, path, NULL, error, p);
    }
    text = apr_palloc(scratch, SVL_KEYFILE_MAX + 1);
    status = judge(apr_file_info_get(&info, wanted, file), &info, path, warning, error, p);
    if (status == APR_SUCCESS) {
        status = read_text(text, &length, file);
        if (status != APR_SUCCESS) {
            fail(status, path, NULL, error, p);
        }
    }
    if (status == APR_SUCCESS) {
        status = svl_ring_parse(ring, text, length, &wrong, p);
        if (status != APR_SUCCESS) {
            fail(status, path, wrong, error, p);
        }
    }
    apr_crypto_memzero(text, length);
    apr_pool_destroy(scratch);
    return status;
}
