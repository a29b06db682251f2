/* SPDX-License-Identifier: MIT
 *
 * Reads the packets that `bmnic capture --publish NAME` publishes.
 *
 * One file, C11, no library. Any number of programs read the same ring, each at
 * its own pace; the publisher does not know of them and waits for none. A reader
 * that is too slow loses packets and is told exactly how many.
 *
 *     struct bmnic_ring ring;
 *     int error = bmnic_ring_open(&ring, "NAME", BMNIC_RING_NOW);    // 0 or -errno
 *     unsigned char *bytes = malloc(ring.snaplen);
 *     struct bmnic_packet packet;
 *     for (;;) {
 *         int got = bmnic_ring_next(&ring, &packet, bytes);
 *         if (got == BMNIC_RING_PACKET) ...  // packet, and packet.len bytes of it
 *         else if (got == BMNIC_RING_EMPTY) ...  // spin, or sleep, and come again
 *         else break;                            // it has ended, or is damaged
 *     }
 *     // ring.lost packets were overwritten before this reader came to them
 *     bmnic_ring_close(&ring);
 *
 * A struct bmnic_ring is for one thread; several threads open the ring several times.
 * What is opened stays as it is if the publisher is killed: memory that is handed out
 * cannot shrink, so no reader meets a SIGBUS, and nothing in it is believed that would
 * lead out of it.
 *
 * The layout, in words of 8 bytes in the processor's order:
 *
 *     0      "bmnicrng"            16  state: 0 running, 1 ended, 2 failed
 *     1      version: 1            32  number of the latest block that is written to
 *     2      words in a block      48  position up to which records are whole
 *     3      blocks                128 what the packets come from: text, 256 bytes
 *     4      bytes kept, at most
 *     5      publisher's pid
 *     6      when it began, ns since 1970
 *     512    block 0, block 1, ...
 *
 * A position counts words that were ever written. A record begins with three words:
 * bytes kept (low half) and on the wire (high half), sequence number, time in ns since
 * 1970; its bytes follow, padded to whole words. It lies in one block; where the next
 * one did not fit, a word of all ones stands for the rest of the block.
 */
#ifndef BMNIC_RING_H
#define BMNIC_RING_H

#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* struct timeval, if nothing was included before */
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { /* where to begin */
    BMNIC_RING_NOW = 0,   /* with the next packet */
    BMNIC_RING_OLDEST = 1 /* with the oldest that will be there for a while */
};

enum { /* what bmnic_ring_next() has found */
    BMNIC_RING_PACKET = 1,
    BMNIC_RING_EMPTY = 0,    /* no packet now */
    BMNIC_RING_ENDED = -1,   /* the publisher has ended: no more will come */
    BMNIC_RING_FAILED = -2,  /* it failed, and said so */
    BMNIC_RING_KILLED = -3,  /* it was killed */
    BMNIC_RING_DAMAGED = -4  /* the ring holds what no publisher writes */
};

struct bmnic_packet {
    uint64_t sequence; /* its number, from 0 */
    uint64_t time;     /* ns since 1970 */
    uint32_t len;      /* bytes of it that were kept */
    uint32_t wire_len; /* bytes it had */
};

struct bmnic_ring {
    size_t snaplen;  /* bytes of the longest packet: what a buffer needs */
    uint64_t first;  /* number of the packet with which this reader began */
    uint64_t lost;   /* packets that were overwritten before it came to them */
    char source[257]; /* what the packets come from, as the publisher says */
    /* The rest is the header's own. */
    int fd;
    size_t size;
    const _Atomic uint64_t *words;
    uint64_t block, blocks, number, base, at, position, seen, expected;
    unsigned idle;
    int lapped;
};

#define BMNIC_RING_SKIP UINT64_MAX
#define BMNIC_RING_DATA 512u /* first word of block 0 */

/* Memory that can only be read takes relaxed loads, and fences where it matters. */
static inline uint64_t bmnic_ring_word(const struct bmnic_ring *r, size_t at) {
    return atomic_load_explicit(&r->words[at], memory_order_relaxed);
}

static inline uint64_t bmnic_ring_head(const struct bmnic_ring *r) {
    uint64_t head = bmnic_ring_word(r, 48);
    atomic_thread_fence(memory_order_acquire);
    return head;
}

static inline uint64_t bmnic_ring_opened(const struct bmnic_ring *r) {
    uint64_t opened = bmnic_ring_word(r, 32);
    atomic_thread_fence(memory_order_acquire);
    return opened;
}

/* Whether what was read of this block is of it, and not of a later round. */
static inline int bmnic_ring_holds(const struct bmnic_ring *r, uint64_t number) {
    atomic_thread_fence(memory_order_acquire);
    return bmnic_ring_word(r, 32) - number < r->blocks;
}

static inline void bmnic_ring_go(struct bmnic_ring *r, uint64_t number) {
    r->number = number;
    r->base = BMNIC_RING_DATA + number % r->blocks * r->block;
    r->at = 0;
    r->position = number * r->block;
}

static inline void bmnic_ring_pass(struct bmnic_ring *r, uint64_t words) {
    r->at += words;
    r->position += words;
    if (r->at == r->block) bmnic_ring_go(r, r->number + 1);
}

/* What is at the position: words of a record, 0 for the rest of a block, -1 for nonsense.
 * Worth nothing unless the block holds after it. */
static inline int64_t bmnic_ring_look(const struct bmnic_ring *r, struct bmnic_packet *p, unsigned char *bytes) {
    const size_t start = r->base + r->at;
    const uint64_t lengths = bmnic_ring_word(r, start), rest = r->block - r->at;
    if (lengths == BMNIC_RING_SKIP) return 0;
    p->len = (uint32_t)lengths;
    p->wire_len = (uint32_t)(lengths >> 32);
    const uint64_t need = 3 + ((uint64_t)p->len + 7) / 8;
    if (p->len > r->snaplen || p->len > p->wire_len || need > rest) return -1;
    p->sequence = bmnic_ring_word(r, start + 1);
    p->time = bmnic_ring_word(r, start + 2);
    if (bytes) {
        size_t at = 0;
        for (; at + 8 <= p->len; at += 8) {
            const uint64_t word = bmnic_ring_word(r, start + 3 + at / 8);
            memcpy(bytes + at, &word, 8);
        }
        if (at < p->len) {
            const uint64_t word = bmnic_ring_word(r, start + 3 + at / 8);
            memcpy(bytes + at, &word, p->len - at);
        }
    }
    return (int64_t)need;
}

/* Finds the place to begin at: 1, or 0 if the publisher was faster, or -EPROTO. */
static inline int bmnic_ring_place(struct bmnic_ring *r, int begin) {
    const uint64_t opened = bmnic_ring_opened(r), margin = r->blocks / 8 ? r->blocks / 8 : 1;
    struct bmnic_packet p;
    uint64_t number = opened ? opened - 1 : 0;
    if (opened >= UINT64_MAX / 8 / r->block) return -EPROTO;
    if (begin == BMNIC_RING_OLDEST) {
        const uint64_t oldest = opened + 1 + margin > r->blocks ? opened + 1 + margin - r->blocks : 0;
        if (oldest < number) number = oldest;
    }
    bmnic_ring_go(r, number);
    r->seen = bmnic_ring_head(r);
    r->expected = number ? bmnic_ring_word(r, r->base + 1) : 0;
    while (begin == BMNIC_RING_NOW && r->position < r->seen) {
        const int64_t found = bmnic_ring_look(r, &p, NULL);
        if (found == 0) {
            bmnic_ring_go(r, r->number + 1);
        } else if (found > 0 && p.sequence == r->expected) {
            bmnic_ring_pass(r, (uint64_t)found);
            r->expected++;
        } else {
            return bmnic_ring_holds(r, number) ? -EPROTO : 0;
        }
    }
    return bmnic_ring_holds(r, number);
}

static inline void bmnic_ring_close(struct bmnic_ring *r) {
    if (r->words) munmap((void *)(uintptr_t)r->words, r->size);
    if (r->fd >= 0) close(r->fd);
    r->words = NULL;
    r->fd = -1;
}

/* Asks at the ring's socket for its memory: a descriptor, or -errno. */
static inline int bmnic_ring_ask(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int length = snprintf(address.sun_path, sizeof address.sun_path, "/dev/shm/bmnic-ring-%s", name);
    if (length < 0 || (size_t)length >= sizeof address.sun_path || strchr(name, '/')) return -EINVAL;
    const int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0) return -errno;
    char word[8];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec vector = {.iov_base = word, .iov_len = sizeof word};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    const struct timeval patience = {.tv_sec = 2};
    int fd = -EPROTO;
    if (setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
        connect(s, (const struct sockaddr *)&address, sizeof address) != 0) {
        fd = -errno;
    } else {
        const ssize_t got = recvmsg(s, &message, MSG_CMSG_CLOEXEC);
        const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (got < 0) fd = -errno;
        if (got == 0) fd = -ECONNREFUSED;
        if (got > 0 && header && header->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(header), sizeof fd);
    }
    close(s);
    return fd;
}

/* Opens the ring NAME. 0, or -errno: -ENOENT and -ECONNREFUSED if nobody publishes it,
 * -EACCES if it is not for this user, -EPROTO if what is there is no ring. */
static inline int bmnic_ring_open(struct bmnic_ring *r, const char *name, int begin) {
    struct stat status;
    memset(r, 0, sizeof *r);
    r->fd = bmnic_ring_ask(name);
    if (r->fd < 0) return r->fd;
    int error = -EPROTO;
    /* F_GET_SEALS; F_SEAL_SHRINK and F_SEAL_FUTURE_WRITE: it will not go from under us. */
    const int seals = fcntl(r->fd, 1034);
    if (seals < 0 || (seals & 0x12) != 0x12 || fstat(r->fd, &status) != 0 || status.st_size < 4096) goto failed;
    r->size = (size_t)status.st_size;
    void *map = mmap(NULL, r->size, PROT_READ, MAP_SHARED, r->fd, 0);
    if (map == MAP_FAILED) {
        error = -errno;
        goto failed;
    }
    r->words = map;
    r->block = bmnic_ring_word(r, 2);
    r->blocks = bmnic_ring_word(r, 3);
    r->snaplen = bmnic_ring_word(r, 4);
    const uint64_t words = r->size / 8 - BMNIC_RING_DATA;
    uint64_t magic = bmnic_ring_word(r, 0);
    if (memcmp(&magic, "bmnicrng", 8) != 0 || bmnic_ring_word(r, 1) != 1 || r->block <= 3 || r->blocks < 2 ||
        r->block > words || r->blocks > words / r->block || r->snaplen > 8 * (r->block - 3))
        goto failed;
    for (size_t i = 0; i < 32; i++) {
        const uint64_t word = bmnic_ring_word(r, 128 + i);
        memcpy(r->source + 8 * i, &word, 8);
    }
    for (int tries = 64; tries > 0; tries--) {
        const int placed = bmnic_ring_place(r, begin);
        if (placed < 0) break;
        if (placed) {
            r->first = r->expected;
            return 0;
        }
    }
failed:
    bmnic_ring_close(r);
    return error;
}

/* Whether more may come: BMNIC_RING_EMPTY, or how it has ended. */
static inline int bmnic_ring_state(struct bmnic_ring *r) {
    for (int look = 0;; look++) {
        const uint64_t state = bmnic_ring_word(r, 16);
        atomic_thread_fence(memory_order_acquire);
        if (state == 1) return BMNIC_RING_ENDED;
        if (state != 0) return BMNIC_RING_FAILED;
        if (look == 1) return BMNIC_RING_KILLED;
        /* The kernel drops the publisher's lock when it dies. Asking is a system call,
         * so it is done at the first of 64 looks in vain. */
        if (r->idle++ % 64 != 0) return BMNIC_RING_EMPTY;
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
        if (fcntl(r->fd, F_GETLK, &lock) != 0 || lock.l_type != F_UNLCK) return BMNIC_RING_EMPTY;
    }
}

/* Copies the next packet out to BYTES, which has room for ring.snaplen bytes. */
static inline int bmnic_ring_next(struct bmnic_ring *r, struct bmnic_packet *p, unsigned char *bytes) {
    int state = BMNIC_RING_EMPTY;
    for (int steps = 64; steps > 0; steps--) {
        if (r->position >= r->seen) {
            r->seen = bmnic_ring_head(r);
            if (r->position >= r->seen) {
                if (state != BMNIC_RING_EMPTY) return state;
                state = bmnic_ring_state(r);
                if (state == BMNIC_RING_EMPTY) return state;
                continue; /* what was published before the end is there once the end is seen */
            }
        }
        const int64_t found = bmnic_ring_look(r, p, bytes);
        if (!bmnic_ring_holds(r, r->number)) {
            /* Lapped: go on half a ring behind the publisher. */
            const uint64_t opened = bmnic_ring_opened(r), half = r->blocks / 2;
            if (opened >= UINT64_MAX / 8 / r->block || opened < half || opened - half <= r->number)
                return BMNIC_RING_DAMAGED;
            bmnic_ring_go(r, opened - half);
            r->seen = 0;
            r->lapped = 1;
        } else if (found == 0) {
            bmnic_ring_go(r, r->number + 1);
        } else if (found < 0 || p->sequence < r->expected || (p->sequence > r->expected && !r->lapped)) {
            return BMNIC_RING_DAMAGED;
        } else {
            r->lost += p->sequence - r->expected;
            r->expected = p->sequence + 1;
            r->lapped = 0;
            r->idle = 0;
            bmnic_ring_pass(r, (uint64_t)found);
            return BMNIC_RING_PACKET;
        }
    }
    return BMNIC_RING_EMPTY;
}

#endif
