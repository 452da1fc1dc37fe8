/* The reference: a worker and a client on libgearman, as its manual writes them.
 *
 *   gearman worker PORT            serves "noop" and "sleep10" until it is killed
 *   gearman first PORT             prints "first" when the first result is there
 *   gearman trips PORT COUNT       prints the nanoseconds of each round trip, one at a time
 *   gearman many PORT NAME COUNT   prints the nanoseconds COUNT tasks take, all handed in at once
 */

#include <libgearman/gearman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static long long now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static void *noop(gearman_job_st *job, void *context, size_t *size, gearman_return_t *told) {
    (void)job, (void)context;
    *size = 0, *told = GEARMAN_SUCCESS;
    return NULL;
}

static void *sleep10(gearman_job_st *job, void *context, size_t *size, gearman_return_t *told) {
    struct timespec span = {0, 10000000};
    nanosleep(&span, NULL);
    return noop(job, context, size, told);
}

static int work(int port) {
    gearman_worker_st *worker = gearman_worker_create(NULL);
    gearman_worker_add_server(worker, "127.0.0.1", port);
    gearman_worker_add_function(worker, "noop", 0, noop, NULL);
    gearman_worker_add_function(worker, "sleep10", 0, sleep10, NULL);
    while (gearman_worker_work(worker) == GEARMAN_SUCCESS) {}
    return 1;
}

static int one(gearman_client_st *client) {
    gearman_return_t told;
    size_t size;
    free(gearman_client_do(client, "noop", NULL, NULL, 0, &size, &told));
    return told == GEARMAN_SUCCESS;
}

static int many(gearman_client_st *client, const char *name, int count) {
    for (int i = 0; i < count; i++) {
        gearman_return_t told;
        gearman_client_add_task(client, NULL, NULL, name, NULL, NULL, 0, &told);
        if (told != GEARMAN_SUCCESS) return 0;
    }
    return gearman_client_run_tasks(client) == GEARMAN_SUCCESS;
}

int main(int count, char **words) {
    if (count < 3) return 2;
    int port = atoi(words[2]);
    if (!strcmp(words[1], "worker")) return work(port);
    gearman_client_st *client = gearman_client_create(NULL);
    gearman_client_add_server(client, "127.0.0.1", port);
    if (!one(client)) return 1;
    if (!strcmp(words[1], "first")) {
        puts("first");
    } else if (!strcmp(words[1], "trips")) {
        for (int left = atoi(words[3]); left > 0; left--) {
            long long begun = now();
            if (!one(client)) return 1;
            printf("%lld\n", now() - begun);
        }
    } else {
        long long begun = now();
        if (!many(client, words[3], atoi(words[4]))) return 1;
        printf("%lld\n", now() - begun);
    }
    return 0;
}
