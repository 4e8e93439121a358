/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A numbered UDP stream, to see what a switch-over does to traffic.
 *
 *   udpseq send DESTINATION PORT RATE SECONDS [STAMP_FILE]
 *   udpseq recv PORT SECONDS [READY_FILE]
 *
 * Both print one JSON object at the end. Each datagram carries its number and the sender's
 * CLOCK_REALTIME; the receiver adds its own. A gap (a run of numbers that never came) is reported
 * with both clocks of the datagrams before and after it, since a guest's clock and the host's
 * differ: whoever compares a gap with times taken on the host uses the sender's stamps of a stream
 * that left the host, and the receiver's of one that arrived there.
 *
 * STAMP_FILE becomes a JSON array of the time at which each number was sent: what was lost cannot
 * tell that itself, and its neighbours may be far away where the sender did not get to run.
 *
 * SIGTERM ends a sender early, with its end marks and its report.
 *
 * READY_FILE appears when the port is bound; before that the kernel would answer with ICMP.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x76647453u
#define MAX_COUNT 4000000u
#define SILENCE_US 100000
#define CATCH_UP_US 20000
#define END_COPIES 5
#define STRAGGLERS_US 300000

/* What goes over the wire, big endian. An end mark has the stream's length as its number. */
struct datagram {
    uint32_t magic;
    uint32_t end;
    uint64_t stream;
    uint64_t number;
    uint64_t sent_us;
};

struct arrival {
    uint64_t sent_us;
    uint64_t received_us; /* 0: never came */
};

struct sent {
    uint64_t total;
    uint64_t refused; /* by a full queue below us, then sent after all */
    uint64_t blocked; /* the longest time that sending one took, us */
};

struct receiver {
    struct arrival *arrivals; /* owned, MAX_COUNT */
    uint64_t stream;
    uint64_t total;   /* from the end mark, else highest number + 1 */
    uint64_t highest; /* plus one; 0: nothing came */
    uint64_t duplicated;
    uint64_t reordered;
    uint64_t foreign;  /* other streams, short or wild datagrams */
    uint32_t overflow; /* dropped by our own socket, so no fault of the network */
    uint64_t last_us;
    bool ended;
    uint64_t ended_us;
    bool comma;
};

static volatile sig_atomic_t enough;

static void
on_signal(int number)
{
    enough = number;
}

static uint64_t
now_us(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (uint64_t) time.tv_sec * 1000000 + (uint64_t) time.tv_nsec / 1000;
}

static void
sleep_until(uint64_t us)
{
    struct timespec time = {.tv_sec = (time_t) (us / 1000000),
                            .tv_nsec = (long) (us % 1000000) * 1000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR && !enough) {
    }
}

static int
fail(const char *what)
{
    fprintf(stderr, "udpseq: %s: %s\n", what, strerror(errno));
    return 1;
}

static bool
number_from(const char *text, unsigned long max, unsigned long *value)
{
    char *end;

    errno = 0;
    *value = strtoul(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *value > 0 && *value <= max;
}

/* A full queue below us refuses a datagram; its number is then tried again, not lost. */
static bool
put(int fd, const struct sockaddr_in *to, struct datagram *datagram, uint64_t *refused)
{
    for (unsigned int i = 0; i < 5000; i++) {
        datagram->sent_us = htobe64(now_us(CLOCK_REALTIME));
        if (sendto(fd, datagram, sizeof(*datagram), 0, (const struct sockaddr *) to, sizeof(*to)) ==
            (ssize_t) sizeof(*datagram)) {
            return true;
        }
        if (errno != ENOBUFS && errno != EINTR) {
            return false;
        }
        (*refused)++;
        usleep(1000);
    }
    return false;
}

static bool
write_stamps(const char *path, const uint64_t *stamps, uint64_t count)
{
    FILE *file = fopen(path, "we");

    if (file == NULL) {
        return false;
    }
    for (uint64_t i = 0; i < count; i++) {
        fprintf(file, "%c%llu", i > 0 ? ',' : '[', (unsigned long long) stamps[i]);
    }
    fprintf(file, count > 0 ? "]\n" : "[]\n");
    return fclose(file) == 0;
}

/* The numbered part of a stream, at @rate a second. */
static bool
send_numbers(int fd, const struct sockaddr_in *to, struct datagram *datagram, uint64_t *stamps,
             uint64_t total, uint64_t rate, struct sent *sent)
{
    uint64_t next = now_us(CLOCK_MONOTONIC);

    for (uint64_t number = 0; number < total && !enough; number++) {
        uint64_t before = now_us(CLOCK_MONOTONIC), took;

        datagram->number = htobe64(number);
        if (!put(fd, to, datagram, &sent->refused)) {
            return false;
        }
        stamps[number] = be64toh(datagram->sent_us);
        sent->total = number + 1;
        took = now_us(CLOCK_MONOTONIC) - before;
        sent->blocked = took > sent->blocked ? took : sent->blocked;
        /* After a stall the stream is late; a burst to catch up would overflow the next queue. */
        next += 1000000 / rate;
        if (next + CATCH_UP_US < before + took) {
            next = before + took;
        }
        sleep_until(next);
    }
    return true;
}

static bool
send_end(int fd, const struct sockaddr_in *to, struct datagram *datagram, struct sent *sent)
{
    datagram->number = htobe64(sent->total);
    datagram->end = htobe32(1);
    for (unsigned int i = 0; i < END_COPIES; i++) {
        if (!put(fd, to, datagram, &sent->refused)) {
            return false;
        }
        usleep(20000);
    }
    return true;
}

static int
send_stream(const struct sockaddr_in *to, uint64_t rate, uint64_t total, const char *stamp_file)
{
    struct datagram datagram = {.magic = htobe32(MAGIC)};
    uint64_t *stamps = calloc(total, sizeof(*stamps));
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sent sent = {0};
    bool ok = stamps != NULL && fd >= 0 &&
              getrandom(&datagram.stream, sizeof(datagram.stream), 0) ==
                  (ssize_t) sizeof(datagram.stream) &&
              send_numbers(fd, to, &datagram, stamps, total, rate, &sent) &&
              (stamp_file == NULL || write_stamps(stamp_file, stamps, sent.total)) &&
              send_end(fd, to, &datagram, &sent);
    int result = ok ? 0 : fail("send");

    if (ok) {
        printf("{\"sent\": %llu, \"refused\": %llu, \"longest_block_us\": %llu}\n",
               (unsigned long long) sent.total, (unsigned long long) sent.refused,
               (unsigned long long) sent.blocked);
    }
    if (fd >= 0) {
        close(fd);
    }
    free(stamps);
    return result;
}

static void
print_gap(struct receiver *receiver, uint64_t first, uint64_t end)
{
    static const struct arrival nothing;
    const struct arrival *before = first > 0 ? &receiver->arrivals[first - 1] : &nothing;
    const struct arrival *after =
        end < receiver->total ? &receiver->arrivals[end] : &nothing; /* zeros: the stream's edge */

    printf("%s\n  {\"first\": %llu, \"count\": %llu, \"sent_before_us\": %llu, "
           "\"sent_after_us\": %llu, \"received_before_us\": %llu, \"received_after_us\": %llu}",
           receiver->comma ? "," : "", (unsigned long long) first,
           (unsigned long long) (end - first), (unsigned long long) before->sent_us,
           (unsigned long long) after->sent_us, (unsigned long long) before->received_us,
           (unsigned long long) after->received_us);
    receiver->comma = true;
}

static void
print_gaps(struct receiver *receiver)
{
    uint64_t first = 0, lost = 0;
    bool inside = false;

    printf("\"gaps\": [");
    receiver->comma = false;
    for (uint64_t i = 0; i <= receiver->total; i++) {
        bool missing = i < receiver->total && receiver->arrivals[i].received_us == 0;

        lost += missing ? 1 : 0;
        if (missing && !inside) {
            first = i;
        } else if (!missing && inside) {
            print_gap(receiver, first, i);
        }
        inside = missing;
    }
    printf("],\n \"sent\": %llu, \"received\": %llu, \"lost\": %llu, ",
           (unsigned long long) receiver->total, (unsigned long long) (receiver->total - lost),
           (unsigned long long) lost);
}

static void
take(struct receiver *receiver, const struct datagram *datagram, uint64_t received_us)
{
    uint64_t number = be64toh(datagram->number);
    struct arrival *arrival;

    if (be32toh(datagram->magic) != MAGIC || number >= MAX_COUNT ||
        (receiver->stream != 0 && receiver->stream != datagram->stream)) {
        receiver->foreign++;
        return;
    }
    receiver->stream = datagram->stream;
    if (datagram->end != 0) {
        if (!receiver->ended) {
            receiver->ended = true;
            receiver->ended_us = received_us;
            receiver->total = number;
        }
        return;
    }
    arrival = &receiver->arrivals[number];
    if (arrival->received_us != 0) {
        receiver->duplicated++;
        return;
    }
    arrival->sent_us = be64toh(datagram->sent_us);
    arrival->received_us = received_us;
    if (number < receiver->highest) {
        receiver->reordered++;
    } else {
        receiver->highest = number + 1;
    }
    if (receiver->last_us != 0 && received_us - receiver->last_us >= SILENCE_US) {
        printf("%s\n  {\"start_us\": %llu, \"end_us\": %llu}", receiver->comma ? "," : "",
               (unsigned long long) receiver->last_us, (unsigned long long) received_us);
        receiver->comma = true;
    }
    receiver->last_us = received_us;
}

/* One datagram; false when the socket failed. */
static bool
read_one(struct receiver *receiver, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(uint32_t))];
    } control;
    struct datagram datagram = {0};
    struct iovec part = {.iov_base = &datagram, .iov_len = sizeof(datagram)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof(control.space)};
    ssize_t length = recvmsg(fd, &message, 0);
    struct cmsghdr *header;

    if (length < 0) {
        return errno == EINTR;
    }
    header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SO_RXQ_OVFL) {
        memcpy(&receiver->overflow, CMSG_DATA(header), sizeof(receiver->overflow));
    }
    if (length != (ssize_t) sizeof(datagram)) {
        datagram.magic = 0;
    }
    take(receiver, &datagram, now_us(CLOCK_REALTIME));
    return true;
}

static int
open_receiver(unsigned long port, const char *ready)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port)};
    int one = 1, bytes = 4 << 20, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return -1;
    }
    /* Beyond net.core.rmem_max only as root; overflow tells when the buffer was too small. */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0) {
        (void) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    }
    if (setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof(one)) < 0 ||
        bind(fd, (struct sockaddr *) &at, sizeof(at)) < 0) {
        close(fd);
        return -1;
    }
    if (ready != NULL) {
        int file = open(ready, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

        if (file < 0) {
            close(fd);
            return -1;
        }
        close(file);
    }
    return fd;
}

static int
receive_stream(unsigned long port, unsigned long seconds, const char *ready)
{
    struct receiver receiver = {.arrivals = calloc(MAX_COUNT, sizeof(struct arrival))};
    uint64_t deadline = now_us(CLOCK_MONOTONIC) + seconds * 1000000;
    int fd = open_receiver(port, ready);

    if (receiver.arrivals == NULL || fd < 0) {
        free(receiver.arrivals);
        return fail("recv");
    }
    printf("{\"silences\": [");
    while (now_us(CLOCK_MONOTONIC) < deadline) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};

        if (receiver.ended && now_us(CLOCK_REALTIME) > receiver.ended_us + STRAGGLERS_US) {
            break;
        }
        if (poll(&waiting, 1, 50) > 0 && !read_one(&receiver, fd)) {
            break;
        }
    }
    if (receiver.highest > receiver.total) {
        receiver.total = receiver.highest;
    }
    printf("],\n ");
    print_gaps(&receiver);
    printf("\"duplicated\": %llu, \"reordered\": %llu, \"foreign\": %llu, \"overflow\": %u, "
           "\"ended\": %s}\n",
           (unsigned long long) receiver.duplicated, (unsigned long long) receiver.reordered,
           (unsigned long long) receiver.foreign, receiver.overflow,
           receiver.ended ? "true" : "false");
    close(fd);
    free(receiver.arrivals);
    return 0;
}

int
main(int argc, char **argv)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    unsigned long port, rate, seconds;

    if ((argc == 6 || argc == 7) && strcmp(argv[1], "send") == 0 &&
        inet_pton(AF_INET, argv[2], &to.sin_addr) == 1 && number_from(argv[3], 65535, &port) &&
        number_from(argv[4], 1000000, &rate) && number_from(argv[5], 3600, &seconds) &&
        rate * seconds <= MAX_COUNT) {
        to.sin_port = htons((uint16_t) port);
        (void) signal(SIGTERM, on_signal);
        return send_stream(&to, rate, rate * seconds, argv[6]);
    }
    if ((argc == 4 || argc == 5) && strcmp(argv[1], "recv") == 0 &&
        number_from(argv[2], 65535, &port) && number_from(argv[3], 3600, &seconds)) {
        return receive_stream(port, seconds, argv[4]);
    }
    fprintf(stderr, "usage: udpseq send DESTINATION PORT RATE SECONDS [STAMP_FILE]\n"
                    "       udpseq recv PORT SECONDS [READY_FILE]\n");
    return 2;
}
