/* Read before libmodbus' unit-test-client.c, which stays as it is: leads it to the port in the environment instead of those
   that are written in it. */

#include <modbus.h>
#include <stdlib.h>
#include <string.h>

static const char *unit_test_port(const char *port, const char *written)
{
    return port != NULL && strcmp(port, written) == 0 ? getenv("UNIT_TEST_PORT") : port;
}

#define modbus_new_tcp(address, port) modbus_new_tcp(address, atoi(unit_test_port(#port, "1502")))
#define modbus_new_tcp_pi(node, service) modbus_new_tcp_pi(node, unit_test_port(service, "1502"))
#define modbus_new_rtu(device, ...) modbus_new_rtu(unit_test_port(device, "/dev/ttyUSB1"), __VA_ARGS__)
