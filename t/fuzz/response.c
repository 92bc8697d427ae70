/* SPDX-License-Identifier: Apache-2.0 */
/* Promise: whatever a peer sends back, an exchange ends within its bounds, the three headers are those of the final response, and
 * only what a key of the ring signed for this request and this peer is taken as its answer (THREATS 21).
 *
 * Input: what the peer sends, and then closes.  @@ stands for the signature that it should have over what follows the first empty line. */
#include "fuzz.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../mod_serviceless/core/sign.h"
#include "../../mod_serviceless/transport/signed.h"
#include "../../mod_serviceless/transport/transport.h"

#define RING "a whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw relay\nb whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= call\n"
#define ID "c1"
#define PEER "node-a"
#define SIGNED 1700000000
#define MOST 4096                       /* bytes of a body */
#define EVER APR_INT64_C(1000000000000) /* seconds of tolerance: the inputs do not age */

typedef struct answer_t {
    const char *bytes;
    apr_size_t length;
} answer_t;

static int listener = -1;
static const char *url;
static svl_transport_client_t *client;
static svl_signer_t *signer;
/* What the peer has to do, and whether it has done it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done = PTHREAD_COND_INITIALIZER;
static answer_t answer;

/* Reads the request to the end of its body, {}, answers and closes. */
static void serve_one(int fd)
{
    char request[4096];
    ssize_t got = 0;
    ssize_t more;

    do {
        more = recv(fd, request + got, sizeof(request) - (size_t)got, 0);
        got += more > 0 ? more : 0;
    } while (more > 0 && !(got > 6 && memcmp(request + got - 6, "\r\n\r\n{}", 6) == 0));
    pthread_mutex_lock(&lock);
    for (more = 1; answer.length > 0 && more > 0;) {
        more = send(fd, answer.bytes, answer.length, MSG_NOSIGNAL);
        answer.bytes += more > 0 ? more : 0;
        answer.length -= more > 0 ? (apr_size_t)more : 0;
    }
    close(fd);
    answer.bytes = NULL;
    pthread_cond_signal(&done);
    pthread_mutex_unlock(&lock);
}

static void *serve(void *unused)
{
    for (int fd = accept(listener, NULL, NULL); fd >= 0; fd = accept(listener, NULL, NULL)) {
        serve_one(fd);
    }
    return unused;
}

/* Has the peer answer an exchange.  The answer is not touched any more when this returns. */
static void perform(svl_transport_exchange_t *exchange, answer_t with)
{
    pthread_mutex_lock(&lock);
    answer = with;
    pthread_mutex_unlock(&lock);
    svl_transport_perform(&svl_curl_transport, client, &exchange, 1);
    pthread_mutex_lock(&lock);
    while (answer.bytes) {
        pthread_cond_wait(&done, &lock);
    }
    pthread_mutex_unlock(&lock);
}

static void listen_somewhere(apr_pool_t *p)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    pthread_t thread;

    listener = socket(AF_INET, SOCK_STREAM, 0);
    FUZZ_REQUIRE(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 16) == 0);
    FUZZ_REQUIRE(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    url = apr_psprintf(p, "http://127.0.0.1:%d/", ntohs(address.sin_port));
    FUZZ_REQUIRE(pthread_create(&thread, NULL, serve, NULL) == 0 && pthread_detach(thread) == 0);
}

/* What lives as long as the process is no leak. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static void begin(void)
{
    static svl_transport_options_t options = {.connect_timeout = 5000000, .timeout = 5000000, .max_response = MOST};
    apr_pool_t *p; /* of the process */
    const svl_ring_t *ring;
    const char *error;

    if (listener >= 0) {
        return;
    }
    if (__lsan_disable) {
        __lsan_disable();
    }
    apr_pool_create_unmanaged_ex(&p, NULL, NULL);
    listen_somewhere(p);
    FUZZ_REQUIRE(svl_ring_parse(&ring, RING, strlen(RING), &error, p) == APR_SUCCESS);
    FUZZ_REQUIRE(svl_sign_create(&signer, ring, p) == APR_SUCCESS);
    FUZZ_REQUIRE(svl_curl_transport.init(p) == APR_SUCCESS && svl_curl_transport.create(&client, &options, p) == APR_SUCCESS);
    if (__lsan_enable) {
        __lsan_enable();
    }
}

static const char *find(const char *bytes, apr_size_t length, const char *wanted)
{
    return length > 0 ? memmem(bytes, length, wanted, strlen(wanted)) : NULL;
}

static answer_t fill_in(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    const char *place = find(bytes, length, "@@");
    const char *empty = find(bytes, length, "\r\n\r\n");
    char signature[SVL_SIGN_HEADER_MAX];
    const char *body = empty ? empty + 4 : bytes + length;
    apr_size_t before = place ? (apr_size_t)(place - bytes) : 0;
    char *filled;

    if (!place) {
        return (answer_t){bytes, length};
    }
    FUZZ_REQUIRE(svl_sign_make(signer, NULL, ID ":" PEER, SIGNED, body, (apr_size_t)(bytes + length - body), signature)
                 == APR_SUCCESS);
    filled = apr_palloc(p, length - 2 + strlen(signature));
    memcpy(filled, bytes, before);
    memcpy(filled + before, signature, strlen(signature));
    memcpy(filled + before + strlen(signature), place + 2, length - before - 2);
    return (answer_t){filled, length - 2 + strlen(signature)};
}

static void check_exchange(const svl_transport_exchange_t *exchange)
{
    FUZZ_REQUIRE((unsigned int)exchange->result < SVL_TRANSPORT_COUNT && exchange->result != SVL_TRANSPORT_LOCAL);
    FUZZ_REQUIRE(exchange->result != SVL_TRANSPORT_CONNECT && exchange->result != SVL_TRANSPORT_TLS);
    FUZZ_REQUIRE(exchange->response_length <= MOST);
    FUZZ_REQUIRE(!exchange->response || exchange->response[exchange->response_length] == '\0');
    if (exchange->result == SVL_TRANSPORT_ANSWERED) {
        FUZZ_REQUIRE(exchange->status >= 0 && exchange->status <= 999);
    }
    else {
        FUZZ_REQUIRE(exchange->error);
    }
}

/* Who has no key of the ring puts no answer into a peer's mouth: no input holds a MAC but where it was filled in. */
static void check_judgement(const svl_transport_exchange_t *exchange, int filled, apr_pool_t *p)
{
    svl_peer_state_t state = {0};
    const char *words = NULL;
    svl_peer_result_e result = svl_signed_judge(exchange, signer, PEER, &state, EVER, &words, p);

    fuzz_printable(words);
    if (result == SVL_PEER_OK) {
        FUZZ_REQUIRE(filled && exchange->result == SVL_TRANSPORT_ANSWERED && exchange->status < 400);
        FUZZ_REQUIRE(strcmp(exchange->response_id, ID ":" PEER) == 0 && !exchange->response_repeated);
        FUZZ_REQUIRE(apr_atoi64(exchange->response_timestamp) == SIGNED);
    }
}

static void feed(const char *bytes, apr_size_t length, apr_pool_t *p)
{
    svl_transport_exchange_t exchange = {.content_type = "application/x-ndjson", .id = ID, .timestamp = "1700000000"};
    answer_t with;

    begin();
    with = fill_in(length > 0 ? bytes : "", length, p);
    exchange.url = url;
    exchange.signature = "v1,8R+hDSby8QilLHpRtWD8B/EheI/SRrGeEcPtDtYnJ/s=";
    exchange.body = "{}";
    exchange.length = 2;
    exchange.once = 1;
    exchange.pool = p;
    perform(&exchange, with);
    check_exchange(&exchange);
    check_judgement(&exchange, with.length != length, p);
}

FUZZ_TARGET(feed)
