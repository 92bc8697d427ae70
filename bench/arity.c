/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a call needs to reach the last node of a fleet, by arity, fleet size and round-trip time: a simulation that splits routes with
 * the module's own code (core/route.c), so that fleets larger than a machine can hold can be compared.  bench/arity.pl measures what a
 * step costs, checks this against real fleets, and prints tables.
 *
 *   build/bench/arity nodes=100 rtt=1000 arity=1,2,3,8,0
 *
 * For each arity (0: broadcast) one line: arity, then the microseconds until half of the living nodes, 99 in 100 of them, and the last
 * one have run the call, each the mean of all runs; then how many requests the busiest node sent.
 *
 * A node needs `accept` of a processor to take a call, then `send` of one for each slice that it hands on, and `run` to run it, on one of
 * `cores` processors (`shared`: of all nodes together), which do things in the order in which they come up; at most `senders` requests are
 * under way at once, each until its answer is there.  A network's way takes half of `rtt`.  A share `down` of the nodes, other ones in
 * each run, does not answer: a share `known` of them is skipped at once; for one of the others a sender waits `timeout`, then asks ahead
 * who else of the nodes that it has to reach is down, all at the same time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_pools.h>
#include <apr_strings.h>

#include "../mod_serviceless/core/route.h"

/* Of transport/relay_private.h and relay_probe.c. */
#define REST_MAX 900       /* nodes that a relay line names */
#define PROBES_MAX 256     /* nodes that are asked at the same time */
#define PROBE_PART 3 / 4   /* of the timeout, to be asked ahead */

/* Of the command line; times are in microseconds. */
static double nodes = 10, rtt = 100, accept_cost = 60, send_cost = 30, run_cost = 60, senders = 10, cores = 2, shared, down, known = 1,
              timeout = 1e6, runs = 1, seed = 1;
static const char *arities = "1,2,3,4,5,6,8,10,16,32,0";

static const struct {
    const char *name;
    double *value;
    double least;
} parameters[] = {
    {"nodes", &nodes, 1}, {"rtt", &rtt, 0},       {"accept", &accept_cost, 0}, {"send", &send_cost, 0}, {"run", &run_cost, 0},
    {"cores", &cores, 1}, {"senders", &senders, 1}, {"shared", &shared, 0},    {"down", &down, 0},      {"known", &known, 0},
    {"runs", &runs, 1},   {"seed", &seed, 0},     {"timeout", &timeout, 0},
};

typedef enum { SENT, ARRIVED, ACCEPTED, RAN, ANSWERED, FAILED, ASKED } step_e;

/* A node hands the first living node of ring[first] … ring[first + count - 1] the rest. */
typedef struct hand_t {
    struct hand_t *next; /* in whichever queue it waits */
    apr_uint32_t from;
    svl_route_slice_t slice;
    apr_uint32_t target; /* its place in the ring; it comes first in slice */
    step_e job;          /* what it needs a processor for: the step that this ends with */
} hand_t;

typedef struct event_t {
    double at;
    apr_uint32_t order; /* among those of one time */
    step_e step;
    hand_t *hand;
} event_t;

typedef struct queue_t {
    hand_t *head, **tail;
} queue_t;

typedef struct machine_t {
    apr_uint32_t idle; /* processors */
    queue_t jobs;      /* that wait for one */
} machine_t;

typedef struct node_t {
    machine_t *machine;
    apr_uint32_t free; /* senders */
    apr_uint32_t sent;
    queue_t waiting; /* for a sender */
    int down, skipped;
    double reached; /* negative: not yet */
} node_t;

typedef struct fleet_t {
    apr_pool_t *pool;
    double now;
    apr_uint32_t arity, count;
    apr_uint32_t *ring; /* of node 0 */
    node_t *nodes;
    event_t *events; /* a heap */
    apr_uint32_t waiting, room, order;
} fleet_t;

static void push(queue_t *queue, hand_t *hand)
{
    hand->next = NULL;
    if (!queue->head) {
        queue->tail = &queue->head;
    }
    *queue->tail = hand;
    queue->tail = &hand->next;
}

static hand_t *pop(queue_t *queue)
{
    hand_t *hand = queue->head;

    if (hand) {
        queue->head = hand->next;
    }
    return hand;
}

static int before(const event_t *a, const event_t *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void plan(fleet_t *fleet, double after, step_e step, hand_t *hand)
{
    event_t event = {fleet->now + after, fleet->order++, step, hand};
    apr_uint32_t i = fleet->waiting++;

    if (fleet->waiting > fleet->room) {
        event_t *more = apr_palloc(fleet->pool, 2 * fleet->room * sizeof(*more));

        memcpy(more, fleet->events, fleet->room * sizeof(*more));
        fleet->events = more;
        fleet->room *= 2;
    }
    for (; i > 0 && before(&event, &fleet->events[(i - 1) / 2]); i = (i - 1) / 2) {
        fleet->events[i] = fleet->events[(i - 1) / 2];
    }
    fleet->events[i] = event;
}

static event_t next_event(fleet_t *fleet)
{
    event_t first = fleet->events[0];
    event_t last = fleet->events[--fleet->waiting];
    apr_uint32_t i = 0;

    for (apr_uint32_t child; (child = 2 * i + 1) < fleet->waiting; i = child) {
        child += child + 1 < fleet->waiting && before(&fleet->events[child + 1], &fleet->events[child]);
        if (!before(&fleet->events[child], &last)) {
            break;
        }
        fleet->events[i] = fleet->events[child];
    }
    fleet->events[i] = last;
    return first;
}

static int living(void *baton, apr_uint32_t node)
{
    return !((fleet_t *)baton)->nodes[node].skipped;
}

/* Gives idle processors something to do. */
static void work(fleet_t *fleet, machine_t *machine)
{
    hand_t *hand;

    while (machine->idle > 0 && (hand = pop(&machine->jobs))) {
        machine->idle--;
        plan(fleet, hand->job == ACCEPTED ? accept_cost : hand->job == SENT ? send_cost : run_cost, hand->job, hand);
    }
}

static void add_job(fleet_t *fleet, machine_t *machine, step_e job, hand_t *hand)
{
    hand->job = job;
    push(&machine->jobs, hand);
    work(fleet, machine);
}

/* Begins requests while there are senders for them. */
static void send_on(fleet_t *fleet, node_t *node)
{
    hand_t *hand;

    while (node->free > 0 && (hand = pop(&node->waiting))) {
        svl_route_slice_t *slice = &hand->slice;
        apr_uint32_t skip = svl_route_first_living(fleet->ring + slice->first, slice->count, living, fleet);

        slice->first += skip;
        slice->count -= skip;
        if (slice->count > 0) {
            hand->target = slice->first;
            node->free--;
            node->sent++;
            add_job(fleet, node->machine, SENT, hand);
        }
    }
}

static void split(fleet_t *fleet, apr_uint32_t from, svl_route_slice_t route)
{
    apr_uint32_t slices = svl_route_slices(route.count, fleet->arity);

    for (apr_uint32_t i = 0; i < slices; i++) {
        svl_route_slice_t slice = svl_route_slice(route.count, fleet->arity, i);

        for (apr_uint32_t part; slice.count > 0; slice.first += part, slice.count -= part) {
            hand_t *hand = apr_pcalloc(fleet->pool, sizeof(*hand));

            part = slice.count <= REST_MAX ? slice.count : REST_MAX + 1;
            hand->from = from;
            hand->slice = (svl_route_slice_t){route.first + slice.first, part};
            push(&fleet->nodes[from].waiting, hand);
        }
    }
    send_on(fleet, &fleet->nodes[from]);
}

/* Asks the nodes of a slice, the first ones of them, who is down.  @return how many are */
static apr_uint32_t ask(fleet_t *fleet, svl_route_slice_t slice, apr_uint32_t *left)
{
    apr_uint32_t found = 0;

    for (apr_uint32_t i = 0; i < slice.count && *left > 0; i++) {
        node_t *node = &fleet->nodes[fleet->ring[slice.first + i]];

        *left -= !node->skipped;
        found += node->down && !node->skipped;
        node->skipped = node->down; /* routes do not overlap: nobody else looks at it */
    }
    return found;
}

/* What waits is asked for as well.  @return how long that takes */
static double ask_ahead(fleet_t *fleet, const hand_t *failed)
{
    apr_uint32_t left = PROBES_MAX;
    apr_uint32_t found = ask(fleet, failed->slice, &left);

    for (const hand_t *hand = fleet->nodes[failed->from].waiting.head; hand; hand = hand->next) {
        found += ask(fleet, hand->slice, &left);
    }
    return found ? timeout * PROBE_PART : left < PROBES_MAX ? rtt : 0;
}

static void step(fleet_t *fleet, event_t event)
{
    hand_t *hand = event.hand;
    node_t *from = &fleet->nodes[hand->from];
    apr_uint32_t to = fleet->ring[hand->target];
    node_t *target = &fleet->nodes[to];

    fleet->now = event.at;
    switch (event.step) {
    case SENT:
        plan(fleet, target->down ? timeout : rtt / 2, target->down ? FAILED : ARRIVED, hand);
        from->machine->idle++;
        work(fleet, from->machine);
        break;
    case ARRIVED:
        add_job(fleet, target->machine, ACCEPTED, hand);
        break;
    case ACCEPTED:
        target->machine->idle++;
        plan(fleet, rtt / 2, ANSWERED, hand);
        split(fleet, to, (svl_route_slice_t){hand->slice.first + 1, hand->slice.count - 1});
        add_job(fleet, target->machine, RAN, hand);
        break;
    case RAN:
        target->reached = fleet->now;
        target->machine->idle++;
        work(fleet, target->machine);
        break;
    case FAILED:
        hand->slice.first++;
        hand->slice.count--;
        plan(fleet, ask_ahead(fleet, hand), ASKED, hand);
        break;
    case ASKED:
        if (hand->slice.count > 0) {
            push(&from->waiting, hand);
        }
        /* fall through */
    case ANSWERED:
        from->free++;
        send_on(fleet, from);
        break;
    }
}

static int by_time(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;

    return (difference > 0) - (difference < 0);
}

typedef struct sums_t {
    double half, most, last, busiest;
} sums_t;

/* One call from node 0, which is up. */
static void spread(apr_uint32_t arity, apr_pool_t *pool, sums_t *sums)
{
    fleet_t fleet = {pool, 0, arity, (apr_uint32_t)nodes, NULL, NULL, NULL, 0, 64, 0};
    apr_uint32_t *members = apr_palloc(pool, fleet.count * sizeof(*members));
    double *times = apr_palloc(pool, fleet.count * sizeof(*times));
    machine_t *machines = apr_pcalloc(pool, fleet.count * sizeof(*machines));
    apr_uint32_t reached = 0, busiest = 0;

    fleet.ring = apr_palloc(pool, fleet.count * sizeof(*fleet.ring));
    fleet.nodes = apr_pcalloc(pool, fleet.count * sizeof(*fleet.nodes));
    fleet.events = apr_palloc(pool, fleet.room * sizeof(*fleet.events));
    for (apr_uint32_t i = 0; i < fleet.count; i++) {
        node_t *node = &fleet.nodes[i];

        members[i] = i;
        machines[i].idle = (apr_uint32_t)cores;
        node->machine = &machines[shared > 0 ? 0 : i];
        node->free = (apr_uint32_t)senders;
        node->down = i > 0 && drand48() < down;
        node->skipped = node->down && drand48() < known;
        node->reached = -1;
    }
    fleet.now = accept_cost;
    fleet.nodes[0].reached = fleet.now + run_cost;
    split(&fleet, 0, (svl_route_slice_t){0, svl_route_ring(fleet.ring, members, fleet.count, 0)});
    while (fleet.waiting > 0) {
        step(&fleet, next_event(&fleet));
    }
    for (apr_uint32_t i = 0; i < fleet.count; i++) {
        const node_t *node = &fleet.nodes[i];

        busiest = node->sent > busiest ? node->sent : busiest;
        if (node->reached >= 0) {
            times[reached++] = node->reached;
        }
    }
    qsort(times, reached, sizeof(*times), by_time);
    sums->half += times[(reached - 1) / 2];
    sums->most += times[(reached - 1) * 99 / 100];
    sums->last += times[reached - 1];
    sums->busiest += busiest;
}

/* @return nonzero if the argument is one of ours */
static int set(const char *argument)
{
    const char *equals = strchr(argument, '=');
    char *end;

    if (equals && strncmp(argument, "arity=", 6) == 0) {
        arities = equals + 1;
        return 1;
    }
    for (apr_size_t i = 0; equals && i < sizeof(parameters) / sizeof(parameters[0]); i++) {
        if (strlen(parameters[i].name) == (apr_size_t)(equals - argument)
            && strncmp(argument, parameters[i].name, (apr_size_t)(equals - argument)) == 0) {
            *parameters[i].value = strtod(equals + 1, &end);
            return end != equals + 1 && *end == '\0' && *parameters[i].value >= parameters[i].least;
        }
    }
    return 0;
}

int main(int argc, const char *const *argv)
{
    apr_pool_t *pool, *scratch;
    char *end;

    apr_app_initialize(&argc, &argv, NULL);
    apr_pool_create(&pool, NULL);
    apr_pool_create(&scratch, pool);
    for (int i = 1; i < argc; i++) {
        if (!set(argv[i])) {
            fprintf(stderr, "arity: '%s' is no name=value that is known; names are arity", argv[i]);
            for (apr_size_t j = 0; j < sizeof(parameters) / sizeof(parameters[0]); j++) {
                fprintf(stderr, ", %s (%g)", parameters[j].name, *parameters[j].value);
            }
            fputc('\n', stderr);
            return 2;
        }
    }
    for (const char *list = arities; *list; list = *end ? end + 1 : end) {
        apr_uint32_t arity = (apr_uint32_t)strtoul(list, &end, 10);
        sums_t sums = {0, 0, 0, 0};

        if (end == list || (*end && *end != ',')) {
            fprintf(stderr, "arity: 'arity=%s' is no list of numbers such as 1,2,3,0\n", arities);
            return 2;
        }
        srand48((long)seed); /* the same nodes are down for each arity */
        for (int run = 0; run < (int)runs; run++) {
            spread(arity, scratch, &sums);
            apr_pool_clear(scratch);
        }
        printf("%u\t%.1f\t%.1f\t%.1f\t%.1f\n", arity, sums.half / runs, sums.most / runs, sums.last / runs, sums.busiest / runs);
    }
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}
