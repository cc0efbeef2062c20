// A serial program that does one thing after another and says what came of it, a line each. It knows nothing of hilrig.
// Usage: client MODE A [B]; A and B are the two ends of a null modem.
#define _GNU_SOURCE
#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/serial.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define SENSED (TIOCM_CTS | TIOCM_DSR | TIOCM_CAR | TIOCM_RNG)

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    printf("failed: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int open_port(const char *path) {
    int fd = open(path, O_RDWR | O_NOCTTY);
    if (fd < 0) die(path);
    return fd;
}

static int lines(int fd) {
    int m;
    if (ioctl(fd, TIOCMGET, &m) != 0) die("TIOCMGET");
    return m;
}

static void show(const char *what, int m) {
    printf("%s:%s%s%s%s%s%s\n", what, m & TIOCM_DTR ? " DTR" : "", m & TIOCM_RTS ? " RTS" : "",
           m & TIOCM_CTS ? " CTS" : "", m & TIOCM_DSR ? " DSR" : "", m & TIOCM_CAR ? " CD" : "",
           m & TIOCM_RNG ? " RI" : "");
}

// Waits for what nobody asked for by a call of its own.
static void until(int fd, int mask, int want) {
    for (int i = 0; i < 2000 && (lines(fd) & mask) != want; i++) usleep(10000);
}

static void change(int fd, unsigned long request, int bits) {
    if (ioctl(fd, request, &bits) != 0) die("setting lines");
}

static void set(int fd, speed_t speed, tcflag_t cflag, tcflag_t iflag) {
    struct termios t;
    if (tcgetattr(fd, &t) != 0) die("tcgetattr");
    cfmakeraw(&t);
    t.c_iflag |= iflag;
    t.c_cflag = (t.c_cflag & ~(CSIZE | PARENB | PARODD | CMSPAR | CSTOPB | CRTSCTS)) | cflag | CREAD | CLOCAL;
    cfsetspeed(&t, speed);
    if (tcsetattr(fd, TCSANOW, &t) != 0) die("tcsetattr");
}

static void show_format(const char *what, int fd) {
    struct termios t;
    if (tcgetattr(fd, &t) != 0) die("tcgetattr");
    int bits = 5 + (t.c_cflag & CSIZE) / CS6;
    char parity = !(t.c_cflag & PARENB)   ? 'N'
                  : t.c_cflag & CMSPAR ? (t.c_cflag & PARODD ? 'M' : 'S')
                                       : (t.c_cflag & PARODD ? 'O' : 'E');
    printf("%s: %d%c%d%s%s\n", what, bits, parity, t.c_cflag & CSTOPB ? 2 : 1, t.c_iflag & PARMRK ? " PARMRK" : "",
           t.c_cflag & HUPCL ? "" : " -hupcl");
}

static void receive(const char *what, int fd, int n) {
    unsigned char b[256];
    int got = 0;
    while (got < n) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, 20000) <= 0) break;
        int r = read(fd, b + got, n - got);
        if (r <= 0) break;
        got += r;
    }
    printf("%s:", what);
    for (int i = 0; i < got; i++) printf(" %02x", b[i]);
    printf("\n");
}

static struct serial_icounter_struct counts(int fd) {
    struct serial_icounter_struct c;
    if (ioctl(fd, TIOCGICOUNT, &c) != 0) die("TIOCGICOUNT");
    return c;
}

struct waiter {
    int fd, mask, result, error;
    pthread_t thread;
    volatile int id;
};

static void *wait_lines(void *p) {
    struct waiter *w = p;
    w->id = gettid();
    w->result = ioctl(w->fd, TIOCMIWAIT, w->mask);
    w->error = errno;
    return 0;
}

static void begin_wait(struct waiter *w, int fd, int mask) {
    *w = (struct waiter){.fd = fd, .mask = mask};
    pthread_create(&w->thread, 0, wait_lines, w);
    // A change before it sleeps would not wake it, nor does a driver promise that.
    char path[64], stat[256] = "";
    while (!w->id) usleep(1000);
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", w->id);
    for (int i = 0; i < 2000 && !strstr(stat, ") S "); i++) {
        usleep(1000);
        FILE *f = fopen(path, "r");
        if (!f || !fgets(stat, sizeof stat, f)) die(path);
        fclose(f);
    }
}

static void end_wait(const char *what, struct waiter *w) {
    pthread_join(w->thread, 0);
    printf("%s: %s\n", what, w->result == 0 ? "woken" : strerror(w->error));
}

static void nothing(int s) { (void)s; }

static void calls(const char *pa, const char *pb) {
    int a = open_port(pa);
    show("alone", lines(a));
    int b = open_port(pb);
    until(a, SENSED, TIOCM_CTS | TIOCM_DSR | TIOCM_CAR);
    show("both open, a", lines(a));
    show("both open, b", lines(b));
    set(a, B115200, CS8, 0);
    set(b, B115200, CS8, 0);
    change(a, TIOCMBIC, TIOCM_DTR);
    show("a drops DTR, b", lines(b));
    change(a, TIOCMSET, TIOCM_DTR);
    show("a has DTR alone, b", lines(b));
    change(a, TIOCMBIS, TIOCM_RTS);
    show("a raises RTS, b", lines(b));
    show("a itself", lines(a));

    struct serial_icounter_struct before = counts(b), after;
    struct waiter w;
    begin_wait(&w, b, TIOCM_CTS);
    change(a, TIOCMBIC, TIOCM_DTR);
    usleep(50000);
    printf("still waiting for CTS: %d\n", pthread_tryjoin_np(w.thread, 0) == EBUSY);
    change(a, TIOCMBIC, TIOCM_RTS);
    end_wait("CTS fell", &w);
    after = counts(b);
    printf("counted: CTS %d DSR %d CD %d RI %d\n", after.cts - before.cts, after.dsr - before.dsr,
           after.dcd - before.dcd, after.rng - before.rng);
    struct sigaction act = {.sa_handler = nothing};
    sigaction(SIGUSR1, &act, 0);
    begin_wait(&w, b, TIOCM_CTS);
    pthread_kill(w.thread, SIGUSR1);
    end_wait("signal while waiting", &w);
    change(a, TIOCMBIS, TIOCM_DTR | TIOCM_RTS);

    for (int round = 0; round < 2; round++) {
        set(a, B19200, CS8 | PARENB, 0);
        show_format("even", a);
        set(a, B19200, CS7 | PARENB | PARODD, 0);
        show_format("odd, 7 bits", a);
        set(a, B19200, CS5 | CSTOPB, 0);
        show_format("5 bits", a);
        set(a, B19200, CS8 | PARENB | PARODD | CMSPAR, INPCK | PARMRK);
        show_format("mark", a);
    }
    set(a, B115200, CS8, 0);

    if (write(a, "before", 6) != 6) die("write");
    if (tcsendbreak(a, 0) != 0) die("tcsendbreak");
    if (write(a, "after", 5) != 5) die("write");
    receive("break as NUL", b, 12);
    set(b, B115200, CS8, PARMRK);
    ioctl(a, TIOCSBRK);
    ioctl(a, TIOCCBRK);
    if (write(a, "\xff!", 2) != 2) die("write");
    receive("break and ff with PARMRK", b, 6);
    set(b, B115200, CS8, IGNBRK);
    tcsendbreak(a, 0);
    if (write(a, "x", 1) != 1) die("write");
    receive("break ignored", b, 1);
    printf("breaks counted: %d\n", counts(b).brk);

    struct serial_struct s;
    if (ioctl(a, TIOCGSERIAL, &s) != 0) die("TIOCGSERIAL");
    printf("serial: type %d fifo %d\n", s.type, s.xmit_fifo_size);
    s.flags |= ASYNC_LOW_LATENCY;
    if (ioctl(a, TIOCSSERIAL, &s) != 0) die("TIOCSSERIAL");
    memset(&s, 0, sizeof s);
    ioctl(a, TIOCGSERIAL, &s);
    printf("low latency: %d\n", !!(s.flags & ASYNC_LOW_LATENCY));
    struct serial_rs485 r = {.flags = SER_RS485_ENABLED | SER_RS485_RTS_ON_SEND, .delay_rts_before_send = 3};
    if (ioctl(a, TIOCSRS485, &r) != 0) die("TIOCSRS485");
    memset(&r, 0, sizeof r);
    ioctl(a, TIOCGRS485, &r);
    printf("rs485: %x %u\n", r.flags, r.delay_rts_before_send);
    printf("no such request: %s\n", ioctl(a, TIOCGLCKTRMIOS, 0) ? strerror(errno) : "done");

    cfmakeraw(&(struct termios){0});
    set(a, B0, CS8, 0);
    show("a at speed 0, b", lines(b));
    set(a, B115200, CS8, 0);
    show("a at speed again, b", lines(b));
    close(a);
    show("a closed, b", lines(b));
    a = open_port(pa);
    until(b, TIOCM_DSR, TIOCM_DSR);
    show("a open again, b", lines(b));
    show_format("a as new", a);
    struct termios t;
    tcgetattr(a, &t);
    t.c_cflag &= ~HUPCL;
    tcsetattr(a, TCSANOW, &t);
    show_format("a with -hupcl", a);
    close(a);
    show("a closed with -hupcl, b", lines(b));
    a = open_port(pa);
    show_format("a as new", a);
    begin_wait(&w, a, TIOCM_CTS);
    close(a);
    end_wait("closed while waiting", &w);
    show("a closed, b", lines(b));
    close(b);
}

// Writes that take their time: only order and lower bounds are said, since a machine may be slow but not fast.
static void paced(const char *pa, const char *pb) {
    int a = open_port(pa), b = open_port(pb);
    set(a, B9600, CS8, 0);
    set(b, B9600, CS8, 0);
    char data[8192];
    memset(data, 'u', sizeof data);
    double t = now();
    if (write(a, data, 960) != 960) die("write");
    double written = now() - t;
    int queued = 0;
    ioctl(a, TIOCOUTQ, &queued);
    tcdrain(a);
    double drained = now() - t;
    printf("960 at 9600: queued %s, write before drain %d, drain at least 0.99 s %d\n", queued > 0 ? "some" : "none",
           written < drained, drained >= 0.99);
    ioctl(a, TIOCOUTQ, &queued);
    printf("queued after drain: %d\n", queued);

    // The first kilobytes go into the buffer, the rest waits for the line.
    fcntl(a, F_SETFL, O_NONBLOCK);
    long n = write(a, data, sizeof data);
    long again = write(a, data, 2048);
    printf("nonblocking: took %s, then %s\n", n == 4096 ? "4096" : "other", again < 0 ? strerror(errno) : "some");
    struct pollfd p = {a, POLLOUT, 0};
    printf("poll: %d", poll(&p, 1, 100));
    fd_set out;
    FD_ZERO(&out);
    FD_SET(a, &out);
    struct timeval soon = {0, 100000};
    printf(" select: %d\n", select(a + 1, 0, &out, 0, &soon));
    tcflush(a, TCIOFLUSH);
    printf("poll after flush: %d\n", poll(&p, 1, 0));
    fcntl(a, F_SETFL, 0);

    set(a, B115200, CS8, 0);
    t = now();
    struct iovec v[2] = {{data, 5000}, {data, 3000}};
    n = writev(a, v, 2);
    t = now() - t;
    printf("8000 at 115200: %ld, blocked at least 0.3 s %d\n", n, t >= 0.3);
    struct sigaction act = {.sa_handler = nothing};
    sigaction(SIGALRM, &act, 0);
    set(a, B300, CS8, 0);
    if (write(a, data, 4096) < 0) die("write");
    alarm(1);
    n = write(a, data, 100);
    printf("signal while blocked: %s\n", n < 0 ? strerror(errno) : "written");
    tcflush(a, TCOFLUSH);
    close(a);
    close(b);
}

// Nobody reads at b: hilrig holds a's bytes and reads no more of them, and still hears and answers.
static void stalled(const char *pa, const char *pb) {
    int a = open_port(pa), b = open_port(pb);
    set(a, B4000000, CS8, 0);
    set(b, B4000000, CS8, 0);
    fcntl(a, F_SETFL, O_NONBLOCK);
    char data[4096];
    memset(data, 's', sizeof data);
    long all = 0, n;
    for (int full = 0; full < 20; full++) {
        while ((n = write(a, data, sizeof data)) > 0) all += n, full = 0;
        usleep(10000);
    }
    int queued;
    ioctl(a, TIOCOUTQ, &queued);
    printf("stalled after at most 64 kB %d, queued %s\n", all < 65536, queued > 0 ? "some" : "none");
    change(a, TIOCMBIC, TIOCM_DTR);
    show("a drops DTR, b", lines(b));
    set(a, B2000000, CS7 | PARENB, 0);
    change(a, TIOCMSET, TIOCM_DTR);
    show("a has DTR alone, b", lines(b));
    long got = 0;
    while (got < all && (n = read(b, data, sizeof data)) > 0) got += n;
    printf("all came %d\n", got == all);
    tcdrain(a);
    ioctl(a, TIOCOUTQ, &queued);
    printf("queued after drain: %d\n", queued);
    close(a);
    close(b);
}

struct turn {
    int fd, bit;
};

static void *toggle(void *p) {
    struct turn *t = p;
    for (int i = 0; i < 500; i++) {
        change(t->fd, TIOCMBIC, t->bit);
        change(t->fd, TIOCMBIS, t->bit);
        set(t->fd, i % 2 ? B19200 : B38400, CS8 | PARENB, 0);
    }
    return 0;
}

static void threads(const char *pa, const char *pb) {
    int a = open_port(pa), b = open_port(pb);
    until(b, TIOCM_DSR, TIOCM_DSR);
    pthread_t t[4];
    struct turn turns[4] = {{a, TIOCM_DTR}, {a, TIOCM_RTS}, {b, TIOCM_DTR}, {b, TIOCM_RTS}};
    struct serial_icounter_struct before = counts(b);
    for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, toggle, &turns[i]);
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    show("a at the end", lines(a));
    show("b at the end", lines(b));
    struct serial_icounter_struct after = counts(b);
    // Two threads may change both lines in one step, but no line twice.
    printf("counted as changed: CTS %d DSR %d\n", after.cts - before.cts, after.dsr - before.dsr);
    close(a);
    close(b);
}

static void forks(const char *pa, const char *pb) {
    int a = open_port(pa), b = open_port(pb);
    until(b, TIOCM_DSR, TIOCM_DSR);
    set(a, B19200, CS7 | PARENB, 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        show_format("child", a);
        change(a, TIOCMBIC, TIOCM_RTS);
        fflush(stdout);
        // The parent's lines stay.
        close(a);
        close(b);
        _exit(0);
    }
    waitpid(child, 0, 0);
    show("child has dropped RTS and gone, b", lines(b));
    // Handed over by dup2 and exec: a new program finds the port as it is.
    fflush(stdout);
    child = fork();
    if (child == 0) {
        dup2(a, 0);
        execl("/proc/self/exe", "client", "inherited", "-", (char *)0);
        _exit(127);
    }
    waitpid(child, 0, 0);
    show("after exec, b", lines(b));
    close(a);
    close(b);
}

// As `calls`, with a network between: what a call has done is seen at the other end some time later.
static void far(const char *pa, const char *pb) {
    int a = open_port(pa), b = open_port(pb);
    int all = TIOCM_CTS | TIOCM_DSR | TIOCM_CAR;
    until(a, SENSED, all);
    until(b, SENSED, all);
    show("both open, a", lines(a));
    show("both open, b", lines(b));
    set(a, B115200, CS8, 0);
    set(b, B115200, CS8, 0);
    change(a, TIOCMBIC, TIOCM_DTR);
    until(b, SENSED, TIOCM_CTS);
    show("a drops DTR, b", lines(b));
    change(a, TIOCMBIS, TIOCM_DTR);
    until(b, SENSED, all);
    change(b, TIOCMBIC, TIOCM_RTS);
    until(a, SENSED, TIOCM_DSR | TIOCM_CAR);
    show("b drops RTS, a", lines(a));
    if (write(b, "before", 6) != 6) die("write");
    tcsendbreak(b, 0);
    receive("break to a", a, 7);
    if (write(a, "before", 6) != 6) die("write");
    receive("bytes to b", b, 6);
    tcsendbreak(a, 0);
    receive("break to b", b, 1);
    close(a);
    close(b);
}

int main(int argc, char **argv) {
    const char *mode = argc > 2 ? argv[1] : "", *a = argc > 2 ? argv[2] : "", *b = argc > 3 ? argv[3] : "";
    setvbuf(stdout, 0, _IOLBF, 0);
    if (!strcmp(mode, "calls")) calls(a, b);
    else if (!strcmp(mode, "paced")) paced(a, b);
    else if (!strcmp(mode, "stalled")) stalled(a, b);
    else if (!strcmp(mode, "threads")) threads(a, b);
    else if (!strcmp(mode, "forks")) forks(a, b);
    else if (!strcmp(mode, "far")) far(a, b);
    else if (!strcmp(mode, "inherited")) {
        show_format("inherited", 0);
        change(0, TIOCMBIS, TIOCM_RTS);
    } else if (!strcmp(mode, "hold")) {
        // Sets the line, begins a break, and is killed.
        int fd = open_port(a);
        set(fd, B19200, CS8 | PARENB, 0);
        ioctl(fd, TIOCSBRK);
        printf("holding\n");
        pause();
    } else if (!strcmp(mode, "watch")) {
        // Says what it senses, at each change.
        int fd = open_port(a), m = 0, before = -1;
        set(fd, B19200, CS8, 0);
        struct waiter w;
        begin_wait(&w, fd, TIOCM_RNG);
        for (; ioctl(fd, TIOCMGET, &m) == 0; usleep(2000)) {
            if (m != before) show("senses", m);
            before = m;
        }
        printf("ended: %s\n", strerror(errno));
        end_wait("waiting", &w);
    } else {
        printf("what?\n");
        return 2;
    }
    return 0;
}
