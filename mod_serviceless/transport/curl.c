/* SPDX-License-Identifier: Apache-2.0 */
#include "transport.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <apr_strings.h>

#define HEADERS_MAX 65536 /* bytes of a response's header; httpd's are under 1 KiB */
#define IDLE_MAX 32       /* connections kept: a relay needs one, a call for all outcomes one a node */
#define TICK_MS 1000      /* longest sleep; sockets, libcurl's own timers and abort end it sooner */
#define LINES 5           /* header lines that differ from request to request */

typedef struct handle_t {
    struct handle_t *next;
    CURL *easy;
    svl_transport_exchange_t *exchange; /* NULL once it has ended */
    struct curl_slist lines[LINES];
    size_t capacity, limit; /* of the response's body */
    size_t header;          /* bytes of it so far, interim responses included */
    int too_large, starved; /* more came than may; there was no socket to be had here */
    char error[CURL_ERROR_SIZE];
} handle_t;

struct svl_transport_client_t {
    const svl_transport_options_t *options;
    CURLM *multi;
    handle_t *used;            /* of exchanges that were begun and not finished */
    struct curl_slist *common; /* header lines of every request */
    int aborted;               /* atomic */
    apr_pool_t *pool;
};

/* Clients that live, so that a child which leaves while a thread still runs does not pull libcurl from under it. */
static int clients;

static apr_status_t global_undo(void *unused)
{
    (void)unused;
    if (!__atomic_load_n(&clients, __ATOMIC_ACQUIRE)) {
        curl_global_cleanup();
    }
    return APR_SUCCESS;
}

static apr_status_t global_init(apr_pool_t *p)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return APR_EGENERAL;
    }
    apr_pool_cleanup_register(p, NULL, global_undo, apr_pool_cleanup_null);
    return APR_SUCCESS;
}

static size_t on_header(char *text, size_t size, size_t items, void *baton)
{
    handle_t *handle = baton;
    (void)text;
    handle->header += size * items;
    handle->too_large |= handle->header > HEADERS_MAX;
    return handle->too_large ? 0 : size * items;
}

static size_t on_body(char *text, size_t size, size_t items, void *baton)
{
    handle_t *handle = baton;
    svl_transport_exchange_t *exchange = handle->exchange;
    size_t more = size * items, length = exchange->response_length;
    if (more > handle->limit - length) {
        handle->too_large = 1;
        return 0;
    }
    if (length + more >= handle->capacity) { /* one byte stays free for a NUL */
        handle->capacity = 2 * (length + more) + 512;
        char *body = apr_palloc(exchange->pool, handle->capacity);
        memcpy(body, exchange->response ? exchange->response : "", length);
        exchange->response = body;
    }
    char *end = (char *)(size_t)exchange->response + length;
    memcpy(end, text, more);
    end[more] = '\0';
    exchange->response_length += more;
    return more;
}

/* Not for programs that this process starts; and a lack of descriptors is no word about the peer. */
static curl_socket_t open_socket(void *baton, curlsocktype purpose, struct curl_sockaddr *address)
{
    handle_t *handle = baton;
    curl_socket_t made = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    (void)purpose;
    handle->starved |= made == CURL_SOCKET_BAD && errno != EAFNOSUPPORT;
    return made;
}

static void handle_destroy(handle_t *handle)
{
    curl_easy_cleanup(handle->easy);
    free(handle);
}

static long milliseconds(apr_interval_time_t timeout)
{
    return timeout > 1000 ? (long)((timeout + 999) / 1000) : 1; /* 0 would be libcurl's default */
}

static unsigned int set_blob(CURL *easy, CURLoption option, const char *pem)
{
    struct curl_blob blob = {.data = (void *)(size_t)pem, .len = pem ? strlen(pem) : 0, .flags = CURL_BLOB_NOCOPY};
    return pem ? curl_easy_setopt(easy, option, &blob) : CURLE_OK;
}

/* QUICK_EXIT: without it libcurl joins a resolver thread that hangs in getaddrinfo, whatever the timeouts say. */
static const struct {
    CURLoption option;
    long value;
} fixed[] = {{CURLOPT_NOSIGNAL, 1},
             {CURLOPT_QUICK_EXIT, 1},
             {CURLOPT_FOLLOWLOCATION, 0},
             {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
             {CURLOPT_HTTP_CONTENT_DECODING, 0},
             {CURLOPT_TCP_NODELAY, 1},
             {CURLOPT_TCP_KEEPALIVE, 1},
             {CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
             {CURLOPT_SSL_VERIFYPEER, 1},
             {CURLOPT_SSL_VERIFYHOST, 2}};

/* libcurl trusts its default directory of CAs beside a blob, so that has to be taken away. */
static unsigned int set_common(handle_t *handle, const svl_transport_options_t *options)
{
    CURL *easy = handle->easy;
    unsigned int failed = 0;
    handle->limit = options->max_response;
    for (size_t i = 0; i < sizeof(fixed) / sizeof(*fixed); i++) {
        failed |= curl_easy_setopt(easy, fixed[i].option, fixed[i].value);
    }
    failed |= curl_easy_setopt(easy, CURLOPT_PRIVATE, handle);
    failed |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, handle->error);
    failed |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    failed |= curl_easy_setopt(easy, CURLOPT_PROXY, "");
    failed |= curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    failed |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, milliseconds(options->connect_timeout));
    failed |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    failed |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, handle);
    failed |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    failed |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, handle);
    failed |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    failed |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, handle);
    if (options->ca_certificates) {
        failed |= curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    failed |= set_blob(easy, CURLOPT_CAINFO_BLOB, options->ca_certificates);
    failed |= set_blob(easy, CURLOPT_SSLCERT_BLOB, options->certificate);
    failed |= set_blob(easy, CURLOPT_SSLKEY_BLOB, options->certificate_key);
    return failed;
}

/* A new one for each exchange, which costs a microsecond: libcurl before 8.1 joins a response's first line, if it begins with a blank, to a
 * header of the handle's last exchange, which it freed.  Connections are the multi handle's, and kept. */
static handle_t *handle_make(const svl_transport_client_t *client)
{
    handle_t *handle = calloc(1, sizeof(*handle));
    if (handle && (!(handle->easy = curl_easy_init()) || set_common(handle, client->options))) {
        handle_destroy(handle);
        return NULL;
    }
    return handle;
}

/* The list's head is made by hand, so that its tail, the same for all requests, need not be copied for each. */
static struct curl_slist *header_lines(handle_t *handle, struct curl_slist *common)
{
    const svl_transport_exchange_t *exchange = handle->exchange;
    const char *const named[LINES][2] = {{"Content-Type: ", exchange->content_type},
                                         {"webhook-id: ", exchange->id},
                                         {"webhook-timestamp: ", exchange->timestamp},
                                         {"webhook-signature: ", exchange->signature},
                                         {"webhook-key: ", exchange->key}};
    for (int i = LINES - 1; i >= 0; i--) {
        if (named[i][1]) {
            handle->lines[i].data = apr_pstrcat(exchange->pool, named[i][0], named[i][1], NULL);
            handle->lines[i].next = common;
            common = &handle->lines[i];
        }
    }
    return common;
}

static void exchange_start(svl_transport_client_t *client, handle_t *handle, svl_transport_exchange_t *exchange)
{
    apr_interval_time_t timeout = exchange->timeout ? exchange->timeout : client->options->timeout;
    unsigned int failed = 0;
    handle->exchange = exchange;
    handle->capacity = handle->header = 0;
    handle->too_large = handle->starved = 0;
    handle->error[0] = '\0';
    failed |= curl_easy_setopt(handle->easy, CURLOPT_URL, exchange->url);
    failed |= curl_easy_setopt(handle->easy, CURLOPT_HTTPHEADER, header_lines(handle, client->common));
    failed |= curl_easy_setopt(handle->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)exchange->length);
    failed |= curl_easy_setopt(handle->easy, CURLOPT_POSTFIELDS, exchange->body);
    failed |= curl_easy_setopt(handle->easy, CURLOPT_TIMEOUT_MS, milliseconds(timeout));
    failed |= curl_easy_setopt(handle->easy, CURLOPT_FORBID_REUSE, exchange->once ? 1L : 0L);
    if (failed || curl_multi_add_handle(client->multi, handle->easy) != CURLM_OK) {
        handle->exchange = NULL;
    }
}

/* What matters is whether the request may have gone out, so that is asked before the code. */
static svl_transport_result_e result_of(const handle_t *handle, CURLcode code, long error)
{
    static const CURLcode tls[] = {CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM,
                                   CURLE_SSL_CIPHER,        CURLE_SSL_CACERT_BADFILE,       CURLE_SSL_ISSUER_ERROR};
    curl_off_t sent = 0;
    if (code == CURLE_OK) {
        return SVL_TRANSPORT_ANSWERED;
    }
    curl_easy_getinfo(handle->easy, CURLINFO_PRETRANSFER_TIME_T, &sent);
    if (sent) {
        return handle->too_large                  ? SVL_TRANSPORT_TOO_LARGE
               : code == CURLE_OPERATION_TIMEDOUT ? SVL_TRANSPORT_TIMEOUT
                                                  : SVL_TRANSPORT_BROKEN;
    }
    if (handle->starved || code == CURLE_OUT_OF_MEMORY || error == EADDRNOTAVAIL) {
        return SVL_TRANSPORT_LOCAL;
    }
    for (size_t i = 0; i < sizeof(tls) / sizeof(*tls); i++)
        if (code == tls[i])
            return SVL_TRANSPORT_TLS;
    return code == CURLE_OPERATION_TIMEDOUT ? SVL_TRANSPORT_CONNECT_TIMEOUT : SVL_TRANSPORT_CONNECT;
}

/* Only the final response's own header counts: neither interim responses' nor trailers. */
static const char *response_header(const handle_t *handle, const char *name)
{
    struct curl_header *header = NULL;
    if (curl_easy_header(handle->easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK) {
        return NULL;
    }
    if (header->amount > 1) {
        handle->exchange->response_repeated = 1;
    }
    return apr_pstrdup(handle->exchange->pool, header->value);
}

static void exchange_end(handle_t *handle, CURLcode code)
{
    svl_transport_exchange_t *exchange = handle->exchange;
    curl_off_t took = 0;
    long status = 0, error = 0, port = 0;
    char *address = NULL;
    curl_easy_getinfo(handle->easy, CURLINFO_OS_ERRNO, &error);
    exchange->result = result_of(handle, code, error);
    curl_easy_getinfo(handle->easy, CURLINFO_TOTAL_TIME_T, &took);
    exchange->took = took;
    if (exchange->result == SVL_TRANSPORT_ANSWERED) {
        curl_easy_getinfo(handle->easy, CURLINFO_RESPONSE_CODE, &status);
        exchange->status = status > 0 && status <= 999 ? (int)status : 0; /* libcurl reads any number of digits */
        exchange->error = NULL;
        if (curl_easy_getinfo(handle->easy, CURLINFO_PRIMARY_IP, &address) == CURLE_OK && address) {
            apr_cpystrn(exchange->address, address, sizeof(exchange->address));
        }
        curl_easy_getinfo(handle->easy, CURLINFO_PRIMARY_PORT, &port);
        exchange->port = (int)port;
        exchange->response_id = response_header(handle, "webhook-id");
        exchange->response_timestamp = response_header(handle, "webhook-timestamp");
        exchange->response_signature = response_header(handle, "webhook-signature");
        exchange->response = exchange->response ? exchange->response : "";
    }
    else {
        exchange->error = handle->too_large ? "the response is too large"
                          : code == CURLE_COULDNT_CONNECT && error
                              ? svl_transport_unconnected(exchange, (int)error)
                              : apr_pstrdup(exchange->pool, handle->error[0] ? handle->error : curl_easy_strerror(code));
    }
    handle->exchange = NULL;
}

static void collect_ended(svl_transport_client_t *client)
{
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(client->multi, &left)) != NULL;) {
        CURL *easy = message->easy_handle;
        char *handle = NULL;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &handle);
        exchange_end((handle_t *)(void *)handle, message->data.result);
        curl_multi_remove_handle(client->multi, easy); /* frees the message */
    }
}

static void client_begin(svl_transport_client_t *client, svl_transport_exchange_t **exchanges, int count)
{
    int running;
    for (int i = 0; i < count; i++) {
        svl_transport_exchange_t *exchange = exchanges[i];
        handle_t *handle = handle_make(client);
        svl_transport_exchange_reset(exchange);
        if (handle) {
            handle->next = client->used;
            client->used = handle;
            exchange_start(client, handle, exchange);
        }
    }
    if (!__atomic_load_n(&client->aborted, __ATOMIC_ACQUIRE)) {
        curl_multi_perform(client->multi, &running); /* finish finds what fails */
    }
    for (handle_t *handle = client->used; handle; handle = handle->next) {
        curl_off_t sent = -1;
        if (handle->exchange) {
            curl_easy_getinfo(handle->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
            handle->exchange->sent = sent == (curl_off_t)handle->exchange->length;
        }
    }
}

static int client_ended(svl_transport_client_t *client)
{
    int running = 0;
    if (__atomic_load_n(&client->aborted, __ATOMIC_ACQUIRE) || curl_multi_perform(client->multi, &running) != CURLM_OK) {
        return 1;
    }
    collect_ended(client);
    return !running;
}

static void client_finish(svl_transport_client_t *client)
{
    while (!client_ended(client) && curl_multi_poll(client->multi, NULL, 0, TICK_MS, NULL) == CURLM_OK) {
        continue;
    }
    while (client->used) {
        handle_t *handle = client->used;
        client->used = handle->next;
        if (handle->exchange) {
            curl_multi_remove_handle(client->multi, handle->easy);
            handle->exchange->result =
                __atomic_load_n(&client->aborted, __ATOMIC_ACQUIRE) ? SVL_TRANSPORT_ABORTED : SVL_TRANSPORT_BROKEN;
            handle->exchange = NULL;
        }
        handle_destroy(handle);
    }
}

static void client_abort(svl_transport_client_t *client)
{
    __atomic_store_n(&client->aborted, 1, __ATOMIC_RELEASE);
    curl_multi_wakeup(client->multi);
}

static apr_status_t client_cleanup(void *baton)
{
    svl_transport_client_t *client = baton;
    for (handle_t *handle; (handle = client->used) != NULL;) {
        client->used = handle->next;
        curl_multi_remove_handle(client->multi, handle->easy);
        handle_destroy(handle);
    }
    curl_multi_cleanup(client->multi);
    __atomic_sub_fetch(&clients, 1, __ATOMIC_RELEASE);
    return APR_SUCCESS;
}

static void add_line(svl_transport_client_t *client, char *line)
{
    struct curl_slist *node = apr_palloc(client->pool, sizeof(*node));
    *node = (struct curl_slist){.data = line, .next = client->common};
    client->common = node;
}

/* libcurl takes `Name:` as "leave that header out" and `Name;` as an empty one. */
static int add_own(void *baton, const char *name, const char *value)
{
    svl_transport_client_t *client = baton;
    add_line(client, apr_pstrcat(client->pool, name, *value ? ": " : ";", value, NULL));
    return 1;
}

static apr_status_t client_create(svl_transport_client_t **client, const svl_transport_options_t *options, apr_pool_t *p)
{
    svl_transport_client_t *made = apr_pcalloc(p, sizeof(*made));
    made->options = options;
    made->pool = p;
    made->multi = curl_multi_init();
    if (!made->multi || curl_multi_setopt(made->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_MAX) != CURLM_OK) {
        return APR_ENOMEM;
    }
    __atomic_add_fetch(&clients, 1, __ATOMIC_ACQUIRE);
    apr_pool_cleanup_register(p, made, client_cleanup, apr_pool_cleanup_null);
    add_line(made, apr_pstrdup(p, "Expect:"));
    if (options->headers) {
        apr_table_do(add_own, made, options->headers, NULL);
    }
    *client = made;
    return APR_SUCCESS;
}

const svl_transport_t svl_curl_transport = {global_init,  client_create, client_begin,
                                            client_ended, client_finish, client_abort};
