/* Counts the packets of a ring that `bmnic capture --publish NAME` publishes.
 *
 *     cc -std=c11 -O2 -I src/publish -o ring examples/ring.c
 *     ./ring NAME [oldest]
 */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE
#include "bmnic_ring.h"
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

static volatile sig_atomic_t stop;

static void on_signal(int number) {
    (void)number;
    stop = 1;
}

int main(int count, char **words) {
    if (count < 2) {
        fprintf(stderr, "usage: %s NAME [oldest]\n", words[0]);
        return 2;
    }
    const int begin = count > 2 && strcmp(words[2], "oldest") == 0 ? BMNIC_RING_OLDEST : BMNIC_RING_NOW;
    struct bmnic_ring ring;
    const int error = bmnic_ring_open(&ring, words[1], begin);
    if (error != 0) {
        fprintf(stderr, "%s: %s\n", words[1], strerror(-error));
        return 1;
    }
    unsigned char *bytes = malloc(ring.snaplen);
    if (!bytes) return 1;
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);

    struct bmnic_packet packet;
    uint64_t packets = 0, total = 0;
    unsigned long sum = 0;
    int got = BMNIC_RING_EMPTY;
    while (!stop) {
        got = bmnic_ring_next(&ring, &packet, bytes);
        if (got == BMNIC_RING_PACKET) {
            packets++;
            total += packet.wire_len;
            for (uint32_t i = 0; i < packet.len; i++) sum += bytes[i];
        } else if (got == BMNIC_RING_EMPTY) {
            nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
        } else {
            break;
        }
    }
    static const char *const ends[] = {"stopped", "ended", "failed", "killed", "damaged"};
    printf("from %" PRIu64 " packets %" PRIu64 " bytes %" PRIu64 " lost %" PRIu64 " sum %lu %s\n", ring.first, packets,
           total, ring.lost, sum, ends[got < 0 ? -got : 0]);
    free(bytes);
    bmnic_ring_close(&ring);
    return got == BMNIC_RING_DAMAGED;
}
