/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes for the tests that include it: each has a log, a relay and a responder that verifies and acknowledges what it gets. */
#ifndef SVL_UNIT_FLEET
#define SVL_UNIT_FLEET

#include <dirent.h>

#include "../../mod_serviceless/core/call.h"
#include "../../mod_serviceless/core/message.h"
#include "../../mod_serviceless/transport/relay.h"

#include "relay_responder.c"

#define FLEET_MAX 10
#define KEYS                                                                                                                   \
    "fleet whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw relay call\n"                                                                \
    "client whsec_Q2xpZW50Q2xpZW50Q2xpZW50Q2xpZW50 call\n"

typedef enum {
    ACKNOWLEDGE,
    ACKNOWLEDGE_200,
    ANSWER_503,
    ANSWER_409,
    UNSIGNED_200,
    OTHER_ID,   /* signed for another request */
    OTHER_NODE, /* signed, but says that it is another node */
    CLIENT_KEY, /* signed by a key that may not relay */
    STALE,      /* signed an hour ago */
    NOT_AN_ACK, /* signed nonsense */
    HANGING,
    DRIPPING,
    ENDLESS,
    REDIRECTING,
    CLOSING, /* takes the request and closes the connection */
    BEHAVIOURS
} behaviour_e;

typedef struct fleet_t fleet_t;

typedef struct node_t {
    fleet_t *fleet;
    apr_uint32_t index;
    const char *name;
    const char *url;
    _Atomic behaviour_e behaviour;
    int gated;             /* atomic; nonzero: waits at the responder's gate before it answers */
    int passes_on;         /* nonzero: has a log and a relay of its own */
    const char *unknown;   /* a node that it refuses, or NULL */
    int refuses_calls;
    responder_t *responder;
    svl_store_t *store;
    svl_relay_t *relay;
    svl_relay_peer_t peers[FLEET_MAX];
    svl_peer_state_t states[FLEET_MAX];
    svl_relay_options_t options;
    apr_pool_t *p;
    apr_uint32_t others[FLEET_MAX];
    svl_route_t ring; /* all others, in ring order */
} node_t;

struct fleet_t {
    apr_pool_t *p;
    apr_pool_t *outside; /* of the responders, which end between the relays and the logs */
    apr_uint32_t count;
    const svl_ring_t *ring;
    svl_transport_options_t http;
    apr_interval_time_t connect_timeout;
    int simultaneous;
    int links;
    apr_size_t max_body;
    svl_log_t log;
    pthread_mutex_t mutex;
    char text[65536]; /* of the log lines */
    node_t nodes[FLEET_MAX];
};

static inline void fleet_log(void *baton, const char *file, int line, svl_log_level_e level, apr_status_t status,
                             const char *text)
{
    fleet_t *fleet = baton;
    (void)file, (void)line, (void)level, (void)status;
    pthread_mutex_lock(&fleet->mutex);
    size_t used = strlen(fleet->text);
    apr_snprintf(fleet->text + used, sizeof(fleet->text) - used, "%s\n", text);
    pthread_mutex_unlock(&fleet->mutex);
}

/* @return how often the log says @a words */
static inline int fleet_logged(fleet_t *fleet, const char *words)
{
    int times = 0;
    pthread_mutex_lock(&fleet->mutex);
    for (const char *at = fleet->text; (at = strstr(at, words)) != NULL; at++) {
        times++;
    }
    pthread_mutex_unlock(&fleet->mutex);
    return times;
}

/* @return in how many of the requests that a node got @a words stand */
static inline int node_heard(node_t *node, const char *words)
{
    int times = 0;
    pthread_mutex_lock(&node->responder->mutex);
    for (int i = 0; i < node->responder->requests && i < KEPT; i++) {
        times += strstr(node->responder->bodies[i], words) != NULL;
    }
    pthread_mutex_unlock(&node->responder->mutex);
    return times;
}

static inline apr_uint64_t node_calls(const node_t *node, int peer)
{
    return __atomic_load_n(&node->states[peer].calls, __ATOMIC_ACQUIRE);
}

static inline apr_uint64_t node_relays(const node_t *node, int peer, svl_peer_result_e result)
{
    return __atomic_load_n(&node->states[peer].relays[result], __ATOMIC_ACQUIRE);
}

/* @return nonzero when the log holds the call */
static inline int node_holds(node_t *node, const char *id)
{
    svl_store_reader_t *reader = NULL;
    apr_uint64_t position;
    assert_int_equal(svl_store_read_begin(&reader, node->store), APR_SUCCESS);
    apr_status_t status = svl_store_find(reader, id, &position);
    svl_store_read_end(reader);
    return status == APR_SUCCESS;
}

/* @return how many routes the log holds (nothing is run in these tests) */
static inline apr_uint64_t node_work(node_t *node)
{
    svl_store_reader_t *reader = NULL;
    svl_store_counts_t counts;
    assert_int_equal(svl_store_flush(node->store), APR_SUCCESS);
    assert_int_equal(svl_store_read_begin(&reader, node->store), APR_SUCCESS);
    assert_int_equal(svl_store_count(reader, &counts), APR_SUCCESS);
    svl_store_read_end(reader);
    return counts.work;
}

/* A node accepts calls of others as the module does, and hands them on. */
static inline void node_pass_on(node_t *node, const svl_message_group_t *group, apr_pool_t *p)
{
    svl_store_batch_t batch = {.count = (apr_uint32_t)group->calls->nelts, .arity = group->arity};
    svl_route_t route = {(apr_uint32_t)group->route->nelts, NULL};
    apr_uint32_t *nodes = apr_palloc(p, (route.count + 1) * sizeof(*nodes));
    const char *names = NULL;
    batch.entries = apr_pcalloc(p, (batch.count + 1) * sizeof(*batch.entries));
    for (apr_uint32_t i = 0; i < batch.count; i++) {
        const svl_message_line_t *line = &APR_ARRAY_IDX(group->calls, i, svl_message_line_t);
        svl_call_line_t *call = NULL;
        svl_fault_t fault = {SVL_REASON_NONE, NULL};
        svl_store_entry_t *entry = &batch.entries[i];
        svl_call_parse_line(&call, line->text, line->length, &fault, p);
        *entry = (svl_store_entry_t){.id = call->id, .origin = call->origin, .set = call->set, .epoch = call->epoch};
        entry->seq = call->seq;
        entry->issued = call->issued;
        entry->ttl = call->ttl;
        entry->draft.head = line->text;
        entry->draft.head_length = line->length;
    }
    for (apr_uint32_t i = 0; i < route.count; i++) {
        const char *name = APR_ARRAY_IDX(group->route, i, const char *);
        names = names ? apr_pstrcat(p, names, " ", name, NULL) : name;
        nodes[i] = (apr_uint32_t)(name[0] - 'a');
    }
    route.nodes = nodes;
    batch.route = names;
    if (batch.count && svl_store_accept(node->store, &batch, 1, apr_time_now()) == APR_SUCCESS && batch.appended && names) {
        svl_relay_push(node->relay, batch.first, batch.appended, &route, NULL, batch.arity, 1);
    }
}

static inline void node_sign(node_t *node, request_t *request, svl_signer_t *signer, int status, const char *id,
                             const char *body, apr_pool_t *p)
{
    char signature[SVL_SIGN_HEADER_MAX];
    behaviour_e behaviour = node->behaviour;
    const svl_key_t *key = behaviour == CLIENT_KEY ? svl_ring_find(node->fleet->ring, "client") : NULL;
    apr_int64_t now = apr_time_sec(apr_time_now()) - (behaviour == STALE ? 3600 : 0);
    const char *response_id = apr_pstrcat(p, behaviour == OTHER_ID ? "other" : id, ":", node->name, NULL);
    svl_sign_make(signer, key, response_id, now, body, strlen(body), signature);
    if (behaviour == UNSIGNED_200) {
        signature[5] = signature[5] == 'A' ? 'B' : 'A';
    }
    responder_say(request, apr_psprintf(p,
                                        "HTTP/1.1 %d Whatever\r\nwebhook-id: %s\r\nwebhook-timestamp: %" APR_INT64_T_FMT
                                        "\r\nwebhook-signature: %s\r\nContent-Length: %d\r\n\r\n%s",
                                        status, response_id, now, signature, (int)strlen(body), body));
}

/* Verifies as a node must, and acknowledges. */
static inline int node_acknowledge(node_t *node, request_t *request, apr_pool_t *p)
{
    char id[256] = "", timestamp[256] = "", signature[256] = "";
    svl_sign_headers_t headers = {id, timestamp, signature, 0};
    const svl_key_t *key = NULL;
    svl_fault_t fault = {SVL_REASON_NONE, NULL};
    svl_message_t *message = NULL;
    svl_signer_t *signer = NULL;
    behaviour_e behaviour = node->behaviour;
    svl_message_ack_t ack = {.from = behaviour == OTHER_NODE ? "z" : node->name};
    apr_size_t length;
    responder_header(request, "webhook-id", id);
    responder_header(request, "webhook-timestamp", timestamp);
    responder_header(request, "webhook-signature", signature);
    svl_sign_create(&signer, node->fleet->ring, p);
    if (svl_sign_verify(signer, &headers, NULL, request->body, request->length, apr_time_sec(apr_time_now()), 300, &key, &fault,
                        p)
            != APR_SUCCESS
        || svl_message_parse(&message, request->body, request->length, &fault, p) != APR_SUCCESS) {
        return responder_say(request, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    }
    for (int g = 0; g < message->groups->nelts; g++) {
        const svl_message_group_t *group = &APR_ARRAY_IDX(message->groups, g, svl_message_group_t);
        ack.accepted += group->calls->nelts;
        for (int i = 0; i < group->route->nelts && node->unknown; i++) {
            if (!ack.nodes && strcmp(APR_ARRAY_IDX(group->route, i, const char *), node->unknown) == 0) {
                ack.nodes = apr_array_make(p, 1, sizeof(const char *));
                APR_ARRAY_PUSH(ack.nodes, const char *) = node->unknown;
            }
        }
        for (int i = 0; i < group->calls->nelts && node->refuses_calls; i++) {
            ack.calls = ack.calls ? ack.calls : apr_array_make(p, 8, sizeof(svl_message_refusal_t));
            APR_ARRAY_PUSH(ack.calls, svl_message_refusal_t) =
                (svl_message_refusal_t){apr_psprintf(p, "call-%d", i), 409, "a\nb"};
        }
        if (node->passes_on) {
            node_pass_on(node, group, p);
        }
    }
    node_sign(node, request, signer, behaviour == ACKNOWLEDGE_200 ? 200 : 202, id,
              behaviour == NOT_AN_ACK ? "[]" : svl_message_write_ack(&ack, p, &length), p);
    return 1;
}

static inline int node_answer(responder_t *responder, request_t *request)
{
    node_t *node = responder->baton;
    apr_pool_t *p;
    int keep;
    if (__atomic_load_n(&node->gated, __ATOMIC_ACQUIRE)) {
        responder_gate(responder);
    }
    switch (node->behaviour) {
    case ANSWER_503:
        return responder_say(request, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    case ANSWER_409:
        return responder_say(request, "HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n");
    case REDIRECTING:
        return responder_say(request, "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
    case CLOSING:
        return 0;
    case HANGING:
        responder_gate(responder);
        return 0;
    case DRIPPING:
        return responder_drip(responder, request, "HTTP/1.1 202 Accepted\r\nContent-Length: 100000\r\n\r\n");
    case ENDLESS:
        return responder_repeat(request, "HTTP/1.1 202 Accepted\r\n\r\n", "and so on, and on, and on");
    default:
        apr_pool_create_unmanaged_ex(&p, NULL, NULL);
        keep = node_acknowledge(node, request, p);
        apr_pool_destroy(p);
        return keep;
    }
}

static inline apr_status_t node_remove(void *baton)
{
    const char *directory = baton;
    DIR *open = opendir(directory);
    char path[512];
    for (struct dirent *entry; open && (entry = readdir(open)) != NULL;) {
        apr_snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        unlink(path);
    }
    if (open) {
        closedir(open);
    }
    rmdir(directory);
    return APR_SUCCESS;
}

/* Gives a node a log and a relay, in its own pool. */
static inline void node_begin(node_t *node)
{
    fleet_t *fleet = node->fleet;
    char directory[] = "/tmp/serviceless-relay.XXXXXX";
    svl_store_options_t store = {.node = node->name, .size = 64 << 20, .readers = 64, .log = &fleet->log};
    const char *error = NULL;
    apr_pool_create(&node->p, fleet->p);
    store.directory = apr_pstrdup(node->p, mkdtemp(directory));
    apr_pool_cleanup_register(node->p, store.directory, node_remove, apr_pool_cleanup_null);
    assert_int_equal(svl_store_prepare(&store, -1, -1, &error, node->p), APR_SUCCESS);
    assert_int_equal(svl_store_open(&node->store, &store, node->p), APR_SUCCESS);
    for (apr_uint32_t i = 0; i < fleet->count; i++) {
        node->peers[i] = (svl_relay_peer_t){fleet->nodes[i].name, fleet->nodes[i].url, &node->states[i]};
    }
    for (apr_uint32_t i = 0; i + 1 < fleet->count; i++) {
        node->others[i] = (node->index + 1 + i) % fleet->count;
    }
    node->ring = (svl_route_t){fleet->count - 1, node->others};
    node->options = (svl_relay_options_t){.peers = node->peers,
                                          .count = fleet->count,
                                          .self = node->index,
                                          .simultaneous = fleet->simultaneous,
                                          .max_body = fleet->max_body,
                                          .tolerance = 300,
                                          .probe_timeout = fleet->connect_timeout,
                                          .transport = &svl_curl_transport,
                                          .http = &fleet->http,
                                          .links = fleet->links,
                                          .ring = fleet->ring,
                                          .store = node->store,
                                          .log = &fleet->log};
    assert_int_equal(svl_relay_create(&node->relay, &node->options, node->p), APR_SUCCESS);
}

static inline apr_status_t fleet_end(void *baton)
{
    fleet_t *fleet = baton;
    for (apr_uint32_t i = 0; i < fleet->count; i++) {
        if (fleet->nodes[i].relay) {
            assert_int_equal(svl_relay_stop(fleet->nodes[i].relay, apr_time_now() + PATIENCE), APR_SUCCESS);
        }
    }
    apr_pool_destroy(fleet->outside);
    return APR_SUCCESS;
}

/* Nodes a, b, c …; the first one has a log and a relay, the others acknowledge. */
static inline fleet_t *fleet_new(apr_pool_t *p, apr_uint32_t count)
{
    fleet_t *fleet = apr_pcalloc(p, sizeof(*fleet));
    const char *error = NULL;
    fleet->p = p;
    fleet->count = count;
    fleet->connect_timeout = apr_time_from_msec(300);
    fleet->simultaneous = 10;
    fleet->max_body = 1 << 20;
    fleet->http =
        (svl_transport_options_t){.connect_timeout = fleet->connect_timeout, .timeout = PATIENCE, .max_response = 1 << 16};
    fleet->log = (svl_log_t){.write = fleet_log, .baton = fleet};
    pthread_mutex_init(&fleet->mutex, NULL);
    assert_int_equal(svl_ring_parse(&fleet->ring, KEYS, strlen(KEYS), &error, p), APR_SUCCESS);
    apr_pool_create(&fleet->outside, p);
    apr_pool_pre_cleanup_register(p, fleet, fleet_end);
    for (apr_uint32_t i = 0; i < count; i++) {
        node_t *node = &fleet->nodes[i];
        node->fleet = fleet;
        node->index = i;
        node->name = apr_psprintf(p, "%c", 'a' + (int)i);
        node->responder = responder_start(fleet->outside, node_answer, node);
        node->url = node->responder->url;
    }
    return fleet;
}

/* For tests that are content with what fleet_new sets: the origin begins at once. */
static inline fleet_t *fleet_begin(apr_pool_t *p, apr_uint32_t count)
{
    fleet_t *fleet = fleet_new(p, count);
    node_begin(&fleet->nodes[0]);
    return fleet;
}

/* Accepts a call of its own.  @return its position */
static inline apr_uint64_t node_accept(node_t *node, const char *id, apr_size_t padding, apr_uint32_t arity)
{
    apr_pool_t *p;
    svl_store_entry_t entry = {.id = id, .origin = node->name, .set = "all", .issued = apr_time_now() / 1000, .ttl = 3600};
    svl_store_batch_t batch = {.entries = &entry, .count = 1, .route = SVL_STORE_ROUTE_RING, .arity = arity};
    apr_pool_create(&p, node->p);
    json_t *args = json_pack("[s]", unit_repeat(p, "x", padding));
    json_t *kwargs = json_object();
    assert_int_equal(svl_call_draft(&entry.draft, id, "example.echo", args, kwargs, node->name, "all", entry.issued, 3600, p),
                     APR_SUCCESS);
    assert_int_equal(svl_store_accept(node->store, &batch, 1, apr_time_now()), APR_SUCCESS);
    assert_int_equal(entry.verdict, SVL_STORE_NEW);
    json_decref(args);
    json_decref(kwargs);
    apr_pool_destroy(p);
    return batch.first;
}

/* Accepts a call and relays it to all others. */
static inline void node_call(node_t *node, const char *id, apr_uint32_t arity)
{
    static int turn; /* begun by the caller, or by a worker */
    svl_relay_push(node->relay, node_accept(node, id, 10, arity), 1, NULL, &node->ring, arity, turn++ % 2);
}

#endif
