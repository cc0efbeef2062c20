/* The smallest honest serial bridge: one process, pairs of ports, poll (or level-triggered epoll with -e),
 * write straight after read. It is the yardstick of tests/bench/bridge and must not become clever.
 *   poll_loop [-e] [-b BAUD] PORT_A PORT_B [PORT_A PORT_B ...] */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <termios.h>
#include <unistd.h>

#define MOST 256

static void die(const char *what) { fprintf(stderr, "poll_loop: %s: %s\n", what, strerror(errno)); exit(1); }

static speed_t speed_of(long baud) {
    static const struct { long baud; speed_t code; } table[] = {
        {9600, B9600}, {19200, B19200}, {38400, B38400}, {57600, B57600}, {115200, B115200},
        {230400, B230400}, {460800, B460800}, {921600, B921600}, {1000000, B1000000}, {3000000, B3000000}};
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].baud == baud) return table[i].code;
    errno = EINVAL;
    die("baud");
    return 0;
}

static int open_port(const char *path, long baud) {
    struct termios t;
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || tcgetattr(fd, &t) < 0) die(path);
    cfmakeraw(&t);
    t.c_cflag |= CLOCAL | CREAD;
    cfsetspeed(&t, speed_of(baud));
    if (tcsetattr(fd, TCSANOW, &t) < 0) die(path);
    return fd;
}

/* Sides 2n and 2n + 1 are a pair: s ^ 1 is the other one. */
static struct side { int fd; char buffer[4096]; size_t from, to; } side[MOST];
static int sides;

/* Moves what can be moved from one side to the other; what the far port does not take stays in the buffer. */
static void readable(int s) {
    ssize_t n = read(side[s].fd, side[s].buffer, sizeof side[s].buffer);
    if (n == 0) exit(0);
    if (n < 0) { if (errno == EAGAIN) return; exit(errno == EIO ? 0 : 1); }
    side[s].from = 0;
    side[s].to = (size_t)n;
}

static void writable(int s) {
    struct side *in = &side[s];
    if (in->from == in->to) return;
    ssize_t n = write(side[s ^ 1].fd, in->buffer + in->from, in->to - in->from);
    if (n < 0) { if (errno == EAGAIN) return; exit(1); }
    in->from += (size_t)n;
}

static int full(int s) { return side[s].from < side[s].to; }

static void loop_poll(void) {
    static struct pollfd p[MOST];
    for (;;) {
        for (int s = 0; s < sides; s++)
            p[s] = (struct pollfd){side[s].fd, (short)((full(s) ? 0 : POLLIN) | (full(s ^ 1) ? POLLOUT : 0)), 0};
        if (poll(p, (nfds_t)sides, -1) < 0) die("poll");
        for (int s = 0; s < sides; s++) {
            if (p[s].revents & POLLOUT) writable(s ^ 1);
            if (p[s].revents & (POLLIN | POLLHUP | POLLERR) && !full(s)) { readable(s); writable(s); }
        }
    }
}

static void watch(int set, int s, int how) {
    static unsigned now[MOST];
    unsigned want = (full(s) ? 0 : EPOLLIN) | (full(s ^ 1) ? EPOLLOUT : 0u);
    if (how == EPOLL_CTL_MOD && want == now[s]) return;
    struct epoll_event e = {want, {.u32 = (unsigned)s}};
    if (epoll_ctl(set, how, side[s].fd, &e) < 0) die("epoll_ctl");
    now[s] = want;
}

static void loop_epoll(void) {
    static struct epoll_event e[MOST];
    int set = epoll_create1(0);
    for (int s = 0; s < sides; s++) watch(set, s, EPOLL_CTL_ADD);
    for (;;) {
        int n = epoll_wait(set, e, MOST, -1);
        for (int i = 0; i < n; i++) {
            int s = (int)e[i].data.u32;
            if (e[i].events & EPOLLOUT) writable(s ^ 1);
            if (e[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !full(s)) { readable(s); writable(s); }
            watch(set, s, EPOLL_CTL_MOD);
            watch(set, s ^ 1, EPOLL_CTL_MOD);
        }
    }
}

int main(int argc, char **argv) {
    int epoll = 0, option;
    long baud = 115200;
    while ((option = getopt(argc, argv, "eb:")) != -1) {
        if (option == 'e') epoll = 1;
        else if (option == 'b') baud = atol(optarg);
        else return 2;
    }
    sides = argc - optind;
    if (sides < 2 || sides % 2 || sides > MOST) {
        fprintf(stderr, "usage: poll_loop [-e] [-b BAUD] PORT_A PORT_B [PORT_A PORT_B ...]\n");
        return 2;
    }
    for (int s = 0; s < sides; s++) side[s].fd = open_port(argv[optind + s], baud);
    if (epoll) loop_epoll(); else loop_poll();
}
