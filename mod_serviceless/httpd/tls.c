/* SPDX-License-Identifier: Apache-2.0 */
#include "tls.h"

#include <string.h>

#include <apr_crypto.h>
#include <apr_file_io.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static const char *read_file(const char **text, const char *path, apr_pool_t *p)
{
    char reason[120];
    apr_finfo_t info;
    apr_file_t *file;
    apr_size_t length = 0;
    apr_status_t status = apr_stat(&info, path, APR_FINFO_TYPE | APR_FINFO_SIZE, p);
    char *buffer;

    if (status == APR_SUCCESS && (info.filetype != APR_REG || info.size > SVL_TLS_FILE_MAX)) {
        return "it must be a plain PEM file of at most 8 MiB";
    }
    if (status == APR_SUCCESS) {
        status = apr_file_open(&file, path, APR_FOPEN_READ | APR_FOPEN_BINARY, APR_FPROT_OS_DEFAULT, p);
    }
    if (status != APR_SUCCESS) {
        return apr_psprintf(p, "it must be a file that root can read: %s", apr_strerror(status, reason, sizeof(reason)));
    }
    buffer = apr_pcalloc(p, (apr_size_t)info.size + 1);
    apr_crypto_clear(p, buffer, (apr_size_t)info.size + 1);
    status = apr_file_read_full(file, buffer, (apr_size_t)info.size, &length);
    apr_file_close(file);
    if (status != APR_SUCCESS && status != APR_EOF) {
        return apr_psprintf(p, "it must be a file that root can read: %s", apr_strerror(status, reason, sizeof(reason)));
    }
    *text = buffer;
    return NULL;
}

/* @return the first certificate of the text when all of them can be read, or NULL */
static X509 *read_certificates(const char *text)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    X509 *first = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    X509 *next = NULL;
    unsigned long last;
    int whole;

    while (first && (next = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        X509_free(next);
    }
    /* what ends the list is its end, not a damaged certificate */
    last = ERR_peek_last_error();
    whole = ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(bio);
    if (first && !whole) {
        X509_free(first);
        return NULL;
    }
    return first;
}

static int no_password(char *buffer, int size, int writing, void *baton)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)baton;
    return -1; /* OpenSSL itself would ask at the terminal */
}

static const char *load_certificates(const char **text, svl_directive_e directive, const svl_setting_t *settings,
                                     X509 **certificate, apr_pool_t *p)
{
    const char *path = settings[directive].text;
    const char *wrong = read_file(text, path, p);

    if (!wrong) {
        *certificate = read_certificates(*text);
        wrong = *certificate ? NULL : "it must be a PEM file of certificates";
    }
    return wrong ? svl_directive_fault(directive, path, settings[directive].where, wrong, p) : NULL;
}

static const char *load_key(const char **text, const svl_setting_t *setting, X509 *certificate, apr_pool_t *p)
{
    const char *wrong = read_file(text, setting->text, p);
    EVP_PKEY *key = NULL;
    BIO *bio;

    if (!wrong) {
        bio = BIO_new_mem_buf(*text, -1);
        key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
        BIO_free(bio);
        wrong = key ? NULL : "it must be a PEM file of a private key without a password";
    }
    if (key && X509_check_private_key(certificate, key) != 1) {
        wrong = "it must be the key of the certificate in ServicelessTLSCertificateFile";
    }
    ERR_clear_error();
    EVP_PKEY_free(key);
    return wrong ? svl_directive_fault(SVL_DIRECTIVE_TLS_KEY, setting->text, setting->where, wrong, p) : NULL;
}

const char *svl_tls_load(svl_transport_options_t *http, const svl_setting_t *settings, apr_pool_t *p)
{
    const svl_setting_t *key = &settings[SVL_DIRECTIVE_TLS_KEY];
    const svl_setting_t *chain = &settings[SVL_DIRECTIVE_TLS_CERTIFICATE];
    X509 *certificate = NULL;
    const char *fault = NULL;

    if (settings[SVL_DIRECTIVE_TLS_CA].is_set) {
        fault = load_certificates(&http->ca_certificates, SVL_DIRECTIVE_TLS_CA, settings, &certificate, p);
        X509_free(certificate);
        certificate = NULL;
    }
    if (!fault && chain->is_set != key->is_set) {
        return chain->is_set ? svl_directive_fault(SVL_DIRECTIVE_TLS_CERTIFICATE, chain->text, chain->where,
                                                   "ServicelessTLSCertificateKeyFile must name the file of its key", p)
                             : svl_directive_fault(SVL_DIRECTIVE_TLS_KEY, key->text, key->where,
                                                   "ServicelessTLSCertificateFile must name the file of its certificate", p);
    }
    if (!fault && chain->is_set) {
        fault = load_certificates(&http->certificate, SVL_DIRECTIVE_TLS_CERTIFICATE, settings, &certificate, p);
        if (!fault) {
            fault = load_key(&http->certificate_key, key, certificate, p);
        }
        X509_free(certificate);
    }
    return fault;
}
