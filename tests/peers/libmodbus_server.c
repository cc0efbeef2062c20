/* A libmodbus server to be asked by hilrig: libmodbus_server rtu PATH | tcp -
   Prints `ready` and its port once it serves. Unit 17: holding registers 0 to 199 from 1000 on, input registers 0 to 9
   from 7 on, coils 0 to 31 of which every second is on, discrete inputs 0 to 31 of which every third is on. */

#include <arpa/inet.h>
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void serve(modbus_t *m, modbus_mapping_t *map)
{
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    for (;;) {
        int n = modbus_receive(m, query);
        if (n > 0)
            modbus_reply(m, query, n, map);
        else if (n == -1 && (errno == ECONNRESET || errno == EIO || errno == EBADF))
            return;
    }
}

int main(int argc, char **argv)
{
    modbus_mapping_t *map = modbus_mapping_new(32, 32, 200, 10);
    if (argc != 3 || map == NULL)
        return 2;
    for (int i = 0; i < 200; i++)
        map->tab_registers[i] = 1000 + i;
    for (int i = 0; i < 10; i++)
        map->tab_input_registers[i] = 7 + i;
    for (int i = 0; i < 32; i++) {
        map->tab_bits[i] = i % 2;
        map->tab_input_bits[i] = i % 3 == 0;
    }
    if (strcmp(argv[1], "tcp") == 0) {
        modbus_t *m = modbus_new_tcp("127.0.0.1", 0);
        int listener = modbus_tcp_listen(m, 1);
        struct sockaddr_in at;
        socklen_t size = sizeof at;
        if (listener == -1 || getsockname(listener, (struct sockaddr *)&at, &size) == -1)
            return 2;
        printf("ready %d\n", ntohs(at.sin_port));
        fflush(stdout);
        while (modbus_tcp_accept(m, &listener) != -1) {
            serve(m, map);
            modbus_close(m);
        }
    } else {
        modbus_t *m = modbus_new_rtu(argv[2], 19200, 'E', 8, 1);
        if (m == NULL || modbus_set_slave(m, 17) == -1 || modbus_connect(m) == -1) {
            printf("no port: %s\n", modbus_strerror(errno));
            return 2;
        }
        printf("ready 0\n");
        fflush(stdout);
        serve(m, map);
    }
    return 1;
}
