/* The least that a Modbus server can be: functions 3 and 16 on 100 registers of any unit, epoll for TCP, blocking for RTU. It
 * trusts its client: frames come whole and right. It is the yardstick of tests/bench/modbus and must not become clever.
 *   modbus_floor tcp PORT [DELAY_US]      replies leave so long after their requests, with real-time priority
 *   modbus_floor rtu PATH [SILENCE_US]    a reply leaves so long after its request, 0 if not given */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static uint16_t registers[100];
static uint16_t crc_of[256];

static void die(const char *what) { fprintf(stderr, "modbus_floor: %s: %s\n", what, strerror(errno)); exit(1); }

/* Answers a PDU; the length of the reply. */
static int answer(const uint8_t *request, uint8_t *reply) {
    unsigned at = request[1] << 8 | request[2], n = request[3] << 8 | request[4];
    if (n > 123 || at + n > 100) {
        reply[0] = request[0] | 0x80;
        reply[1] = 2;
        return 2;
    }
    if (request[0] == 3) {
        reply[0] = 3;
        reply[1] = 2 * n;
        for (unsigned i = 0; i < n; i++) {
            reply[2 + 2 * i] = registers[at + i] >> 8;
            reply[3 + 2 * i] = registers[at + i];
        }
        return 2 + 2 * n;
    }
    for (unsigned i = 0; i < n; i++) registers[at + i] = request[6 + 2 * i] << 8 | request[7 + 2 * i];
    memcpy(reply, request, 5);
    return 5;
}

/* Sleeps until so long after a moment. */
static void wait_from(struct timespec at, long us) {
    at.tv_nsec += us % 1000000 * 1000;
    at.tv_sec += us / 1000000 + at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static void tcp(int port, long delay) {
    struct epoll_event event = {.events = EPOLLIN}, events[64];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1, set = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1024) < 0) die("listen");
    if (delay) {
        struct sched_param high = {.sched_priority = 80};
        int latency = open("/dev/cpu_dma_latency", O_RDWR), none = 0;
        if (latency >= 0 && write(latency, &none, sizeof none) < 0) perror("modbus_floor: cpu_dma_latency");
        if (sched_setscheduler(0, SCHED_FIFO, &high) < 0 || mlockall(MCL_CURRENT) < 0) perror("modbus_floor: real time");
    }
    event.data.fd = listener;
    epoll_ctl(set, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(set, events, 64, -1);
        for (int i = 0; i < n; i++) {
            struct timespec came;
            uint8_t in[1024], out[4096];
            int fd = events[i].data.fd, have, at, filled = 0;
            if (fd == listener) {
                event.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (event.data.fd >= 0) epoll_ctl(set, EPOLL_CTL_ADD, event.data.fd, &event);
                continue;
            }
            have = read(fd, in, sizeof in);
            if (have <= 0) {
                if (have == 0 || errno != EAGAIN) close(fd);
                continue;
            }
            if (delay) clock_gettime(CLOCK_MONOTONIC, &came);
            for (at = 0; at + 8 <= have && filled < 3800; at += 6 + (in[at + 4] << 8 | in[at + 5])) {
                int length = 1 + answer(in + at + 7, out + filled + 7);
                memcpy(out + filled, in + at, 7);
                out[filled + 4] = length >> 8;
                out[filled + 5] = length;
                filled += 6 + length;
            }
            if (delay) wait_from(came, delay);
            if (write(fd, out, filled) != filled) close(fd);
        }
    }
}

static uint16_t crc(const uint8_t *bytes, int n) {
    uint16_t sum = 0xffff;
    while (n--) sum = sum >> 8 ^ crc_of[(sum ^ *bytes++) & 0xff];
    return sum;
}

static void rtu(const char *path, long silence) {
    struct termios t;
    uint8_t in[256], out[256];
    int fd = open(path, O_RDWR | O_NOCTTY), have = 0;
    if (fd < 0 || tcgetattr(fd, &t) < 0) die(path);
    cfmakeraw(&t);
    t.c_cflag |= CLOCAL | CREAD;
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    if (tcsetattr(fd, TCSANOW, &t) < 0) die(path);
    prctl(PR_SET_TIMERSLACK, 1);
    for (int i = 0; i < 256; i++) {
        uint16_t sum = i;
        for (int bit = 0; bit < 8; bit++) sum = sum & 1 ? sum >> 1 ^ 0xa001 : sum >> 1;
        crc_of[i] = sum;
    }
    for (;;) {
        struct timespec at;
        int n = read(fd, in + have, sizeof in - have), length;
        if (n <= 0) die("read");
        have += n;
        if (have < 8 || have < (length = in[1] == 16 ? 9 + in[6] : 8)) continue;
        if (crc(in, length - 2) == (in[length - 2] | in[length - 1] << 8)) {
            uint16_t sum;
            clock_gettime(CLOCK_MONOTONIC, &at);
            out[0] = in[0];
            n = 1 + answer(in + 1, out + 1);
            sum = crc(out, n);
            out[n++] = sum;
            out[n++] = sum >> 8;
            if (silence) wait_from(at, silence);
            if (write(fd, out, n) != n) die("write");
        }
        have = 0;
    }
}

int main(int argc, char **argv) {
    if (argc >= 3 && !strcmp(argv[1], "tcp")) tcp(atoi(argv[2]), argc > 3 ? atol(argv[3]) : 0);
    if (argc >= 3 && !strcmp(argv[1], "rtu")) rtu(argv[2], argc > 3 ? atol(argv[3]) : 0);
    fprintf(stderr, "modbus_floor tcp PORT [DELAY_US] | rtu PATH [SILENCE_US]\n");
    return 2;
}
