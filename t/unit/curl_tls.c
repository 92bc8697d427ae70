/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates and the server come from the command openssl, so that this test links no more than the module does. */
#include <signal.h>
#include <sys/wait.h>

#include "../../mod_serviceless/transport/transport.h"

#include "relay_responder.c"

static const svl_transport_t *const transport = &svl_curl_transport;

static int openssl(apr_pool_t *p, const char *arguments)
{
    return system(apr_pstrcat(p, "exec >/dev/null 2>&1; openssl ", arguments, NULL)) == 0;
}

static const char *whole(apr_pool_t *p, const char *path)
{
    char *text = apr_pcalloc(p, 65536);
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    assert_true(fread(text, 1, 65535, file) > 0);
    fclose(file);
    return text;
}

/* A self-signed certificate and its key, in files of this process. */
static int make_certificate(apr_pool_t *p, const char *directory, const char *name, const char *host)
{
    return openssl(p, apr_psprintf(p,
                                   "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=%s -addext subjectAltName=DNS:%s "
                                   "-keyout %s/%s.key -out %s/%s.pem",
                                   host, host, directory, name, directory, name));
}

typedef struct fixture_t {
    apr_pool_t *p;
    const char *directory;
    int port;
    pid_t server;
} fixture_t;

/* The port is free, but may be taken meanwhile: then nothing answers and the test fails, which has not been seen. */
static int begin(void **state)
{
    fixture_t *fixture;
    apr_pool_t *p;
    char name[] = "/tmp/serviceless-tls.XXXXXX";

    apr_pool_create(&p, NULL);
    fixture = apr_pcalloc(p, sizeof(*fixture));
    fixture->p = p;
    *state = fixture;
    fixture->directory = apr_pstrdup(p, mkdtemp(name));
    if (!make_certificate(p, fixture->directory, "node", "localhost")
        || !make_certificate(p, fixture->directory, "other", "elsewhere")) {
        fixture->directory = NULL;
        return 0;
    }
    close(responder_bind(&fixture->port));
    fixture->server = fork();
    if (fixture->server == 0) {
        const char *port = apr_psprintf(p, "127.0.0.1:%d", fixture->port);
        const char *key = apr_psprintf(p, "%s/node.key", fixture->directory);
        const char *certificate = apr_psprintf(p, "%s/node.pem", fixture->directory);
        int null = open("/dev/null", O_RDWR);

        dup2(null, 1);
        dup2(null, 2);
        execlp("openssl", "openssl", "s_server", "-accept", port, "-key", key, "-cert", certificate, "-quiet", "-naccept", "50",
               NULL);
        _exit(127);
    }
    return 0;
}

static int end(void **state)
{
    fixture_t *fixture = *state;

    if (fixture->server > 0) {
        kill(fixture->server, SIGTERM);
        waitpid(fixture->server, NULL, 0);
    }
    if (fixture->directory) {
        for (const char *const *name = (const char *const[]){"node.key", "node.pem", "other.key", "other.pem", NULL}; *name;
             name++) {
            unlink(apr_psprintf(fixture->p, "%s/%s", fixture->directory, *name));
        }
        rmdir(fixture->directory);
    }
    apr_pool_destroy(fixture->p);
    return 0;
}

/* s_server takes the request and answers nothing, or hangs up: what matters is whether it was sent. */
static svl_transport_result_e post(fixture_t *fixture, const char *host, const char *ca)
{
    svl_transport_options_t options = {.connect_timeout = apr_time_from_sec(10),
                                       .timeout = apr_time_from_sec(10),
                                       .max_response = 1000,
                                       .ca_certificates = ca ? whole(fixture->p, ca) : NULL};
    svl_transport_client_t *client = NULL;
    svl_transport_exchange_t exchange = {
        .content_type = "text/plain", .id = "i", .timestamp = "1", .signature = "s", .body = "b"};
    svl_transport_exchange_t *only = &exchange;

    exchange.url = apr_psprintf(fixture->p, "https://%s:%d/", host, fixture->port);
    exchange.length = 1;
    exchange.pool = fixture->p;
    exchange.timeout = apr_time_from_msec(1000);
    assert_int_equal(transport->create(&client, &options, fixture->p), APR_SUCCESS);
    AWAIT((svl_transport_perform(transport, client, &only, 1), exchange.result != SVL_TRANSPORT_CONNECT));
    return exchange.result;
}

static void only_a_certificate_of_our_authority_and_for_the_name_is_taken(void **state)
{
    fixture_t *fixture = *state;

    if (!fixture->directory) {
        print_message("# the command openssl made no certificate: nothing was tested\n");
        return;
    }
    const char *node = apr_psprintf(fixture->p, "%s/node.pem", fixture->directory);
    const char *other = apr_psprintf(fixture->p, "%s/other.pem", fixture->directory);
    svl_transport_result_e sent = post(fixture, "localhost", node);
    assert_true(sent == SVL_TRANSPORT_TIMEOUT || sent == SVL_TRANSPORT_BROKEN);
    assert_int_equal(post(fixture, "127.0.0.1", node), SVL_TRANSPORT_TLS);
    assert_int_equal(post(fixture, "localhost", other), SVL_TRANSPORT_TLS);
    assert_int_equal(post(fixture, "localhost", NULL), SVL_TRANSPORT_TLS);
}

static const struct CMUnitTest promises[] = {
    {"only a certificate of our authority and for the name is taken",
     only_a_certificate_of_our_authority_and_for_the_name_is_taken, begin, end, NULL},
};

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    atexit(apr_terminate);
    apr_pool_create(&p, NULL);
    transport->init(p);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(promises, NULL, NULL);
}
