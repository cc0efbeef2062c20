/* Asks a hilrig PLC what libmodbus can ask, and compares: libmodbus_client rtu PATH | tcp PORT
   Prints what is wrong; ends with 0 if nothing is. */

#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int wrong;

static void same(const char *what, long got, long expected)
{
    if (got != expected) {
        wrong++;
        printf("%s: %ld, not %ld (%s)\n", what, got, expected, modbus_strerror(errno));
    }
}

static void refused(const char *what, int got, int error)
{
    if (got != -1 || errno != error) {
        wrong++;
        printf("%s: %d with %s, not %s\n", what, got, modbus_strerror(errno), modbus_strerror(error));
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    modbus_t *m = strcmp(argv[1], "tcp") == 0 ? modbus_new_tcp("127.0.0.1", atoi(argv[2]))
                                              : modbus_new_rtu(argv[2], 19200, 'E', 8, 1);
    if (m == NULL || modbus_set_slave(m, 17) == -1 || modbus_connect(m) == -1) {
        printf("no connection: %s\n", modbus_strerror(errno));
        return 2;
    }
    modbus_set_response_timeout(m, 5, 0);

    uint16_t r[125];
    uint8_t b[2000];
    same("holding", modbus_read_registers(m, 0, 125, r), 125);
    for (int i = 0; i < 125; i++)
        same("holding", r[i], 1000 + i);
    same("input", modbus_read_input_registers(m, 0, 10, r), 10);
    for (int i = 0; i < 10; i++)
        same("input", r[i], 7 + i);
    same("coils", modbus_read_bits(m, 0, 2000, b), 2000);
    for (int i = 0; i < 2000; i++)
        same("coil", b[i], i % 2);
    same("inputs", modbus_read_input_bits(m, 0, 9, b), 9);
    for (int i = 0; i < 9; i++)
        same("input bit", b[i], i % 3 == 0);

    same("write bit", modbus_write_bit(m, 0, 1), 1);
    same("write register", modbus_write_register(m, 1, 0xABCD), 1);
    memset(b, 1, sizeof b);
    same("write bits", modbus_write_bits(m, 0, 1968, b), 1968);
    for (int i = 0; i < 123; i++)
        r[i] = 500 + i;
    same("write registers", modbus_write_registers(m, 2, 123, r), 123);
    same("coils", modbus_read_bits(m, 1960, 10, b), 10);
    for (int i = 0; i < 10; i++)
        same("coil then", b[i], i < 8 ? 1 : i % 2);
    same("holding", modbus_read_registers(m, 0, 125, r), 125);
    same("holding 0", r[0], 1000);
    same("holding 1", r[1], 0xABCD);
    for (int i = 0; i < 123; i++)
        same("holding then", r[2 + i], 500 + i);

    same("mask write", modbus_mask_write_register(m, 1, 0x00F2, 0x0025), 1);
    same("masked", modbus_read_registers(m, 1, 1, r), 1);
    same("masked", r[0], (0xABCD & 0x00F2) | (0x0025 & ~0x00F2));
    r[0] = 7;
    same("read and write", modbus_write_and_read_registers(m, 151, 1, r, 150, 3, r), 3);
    same("first", r[0], 1150);
    same("written first", r[1], 7);
    same("third", r[2], 1152);

    refused("past the end", modbus_read_registers(m, 199, 2, r), EMBXILADD);
    refused("no such coil", modbus_write_bit(m, 3000, 1), EMBXILADD);
    uint8_t unknown[] = {17, 0x42, 1, 2, 3}, answer[MODBUS_TCP_MAX_ADU_LENGTH];
    same("an unknown function is sent", modbus_send_raw_request(m, unknown, sizeof unknown) > 0, 1);
    int n = modbus_receive_confirmation(m, answer), at = modbus_get_header_length(m);
    same("an unknown function", n > at + 1 ? answer[at] << 8 | answer[at + 1] : n, 0xC201);

    for (int i = 0; i < 200; i++) {
        same("again", modbus_read_registers(m, 160, 4, r), 4);
        same("again", r[0], 1160);
    }
    modbus_close(m);
    modbus_free(m);
    printf("%d wrong\n", wrong);
    return wrong != 0;
}
