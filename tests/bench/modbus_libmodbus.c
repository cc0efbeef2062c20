/* A server on libmodbus as its manual shows it: many connections by poll, one RTU line by its own loop.
 *   modbus_libmodbus tcp PORT | rtu PATH BAUD */
#include <errno.h>
#include <modbus.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* modbus_receive itself waits with select, which has no room for more. */
#define MOST 1020

static void die(const char *what) { fprintf(stderr, "modbus_libmodbus: %s: %s\n", what, modbus_strerror(errno)); exit(1); }

static void tcp(modbus_mapping_t *map, int port) {
    static struct pollfd fds[MOST];
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    modbus_t *ctx = modbus_new_tcp("127.0.0.1", port);
    int n = 1, listener = ctx ? modbus_tcp_listen(ctx, 1024) : -1;
    if (listener < 0) die("listen");
    fds[0] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (;;) {
        if (poll(fds, n, -1) < 0) continue;
        for (int i = n - 1; i > 0; i--) {
            int length;
            if (!fds[i].revents) continue;
            modbus_set_socket(ctx, fds[i].fd);
            length = modbus_receive(ctx, query);
            if (length > 0) {
                modbus_reply(ctx, query, length, map);
            } else if (length < 0) {
                close(fds[i].fd);
                fds[i] = fds[--n];
            }
        }
        if (fds[0].revents) {
            int socket = listener, fd = modbus_tcp_accept(ctx, &socket);
            if (fd >= 0 && n < MOST && fd < MOST)
                fds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
            else if (fd >= 0)
                close(fd);
        }
    }
}

static void rtu(modbus_mapping_t *map, const char *path, int baud) {
    uint8_t query[MODBUS_RTU_MAX_ADU_LENGTH];
    modbus_t *ctx = modbus_new_rtu(path, baud, 'N', 8, 1);
    if (!ctx || modbus_set_slave(ctx, 1) < 0 || modbus_connect(ctx) < 0) die(path);
    for (;;) {
        int length = modbus_receive(ctx, query);
        if (length > 0) modbus_reply(ctx, query, length, map);
    }
}

int main(int argc, char **argv) {
    modbus_mapping_t *map = modbus_mapping_new(0, 0, 100, 0);
    if (!map) die("map");
    if (argc == 3 && !strcmp(argv[1], "tcp")) tcp(map, atoi(argv[2]));
    if (argc == 4 && !strcmp(argv[1], "rtu")) rtu(map, argv[2], atoi(argv[3]));
    fprintf(stderr, "modbus_libmodbus tcp PORT | rtu PATH BAUD\n");
    return 2;
}
