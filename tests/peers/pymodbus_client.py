"""Asks a hilrig PLC what pymodbus can ask, and compares: pymodbus_client.py FRAMER ADDRESS

FRAMER is rtu or ascii for a serial port, tcp, rtu-over-tcp or ascii-over-tcp for HOST:PORT. Prints what is wrong;
ends with 0 if nothing is."""

import sys

from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.file_message import FileRecord

kind, address = sys.argv[1:]
# Without repeats: each request is to be answered the first time.
options = {"timeout": 5, "retries": 0}
if kind in ("rtu", "ascii"):
    client = ModbusSerialClient(address, framer=FramerType(kind), baudrate=19200, **options)
else:
    host, port = address.rsplit(":", 1)
    framer = {"tcp": "socket", "rtu-over-tcp": "rtu", "ascii-over-tcp": "ascii"}[kind]
    client = ModbusTcpClient(host, port=int(port), framer=FramerType(framer), **options)
assert client.connect(), "the port opens"
wrong = 0


def same(what, got, expected):
    global wrong
    if got != expected:
        wrong += 1
        print(f"{what}: {got!r}, not {expected!r}")


def good(what, answer):
    same(f"{what}, refused", answer.isError() and str(answer), False)
    return answer


at = {"device_id": 17}
holding = [1000 + i for i in range(200)]

# Functions 1 to 6, 15 and 16, and what they left.
same("coils", good("coils", client.read_coils(0, count=12, **at)).bits[:12], [i % 2 == 1 for i in range(12)])
same("inputs", good("inputs", client.read_discrete_inputs(0, count=9, **at)).bits[:9], [i % 3 == 0 for i in range(9)])
same("holding", good("holding", client.read_holding_registers(0, count=125, **at)).registers, holding[:125])
same("input registers", good("input", client.read_input_registers(0, count=10, **at)).registers, list(range(7, 17)))
good("write coil", client.write_coil(0, True, **at))
good("write register", client.write_register(1, 0xABCD, **at))
good("write coils", client.write_coils(2, [True, False, True, True, False, True, True, True, True, False], **at))
good("write registers", client.write_registers(2, [1, 2, 65535] + [9] * 120, **at))
coils = [True, True] + [True, False, True, True, False, True, True, True, True, False]
same("coils then", good("coils", client.read_coils(0, count=12, **at)).bits[:12], coils)
after = [1000, 0xABCD, 1, 2, 65535] + [9] * 120
same("holding then", good("holding", client.read_holding_registers(0, count=125, **at)).registers, after)

# Functions 22 and 23.
good("mask write", client.mask_write_register(address=1, and_mask=0x00F2, or_mask=0x0025, **at))
mask = (0xABCD & 0x00F2) | (0x0025 & ~0x00F2 & 0xFFFF)
same("masked", good("holding", client.read_holding_registers(1, count=1, **at)).registers, [mask])
both = client.readwrite_registers(read_address=150, read_count=3, write_address=151, values=[7], **at)
same("read and written", good("read and write", both).registers, [1150, 7, 1152])

# What is not there.
for what, answer, code in [
    ("past the end", client.read_holding_registers(199, count=2, **at), 2),
    ("no coil", client.write_coil(3000, True, **at), 2),
    ("no file", client.mask_write_register(address=4000, **at), 2),
]:
    same(what, (answer.isError(), getattr(answer, "exception_code", None)), (True, code))

# Files, queues and names: functions 20, 21, 24, 43/14.
ask = FileRecord(file_number=4, record_number=2, record_length=6)
same("file", good("file", client.read_file_record([ask], **at)).records[0].record_data, bytes([0, 12, 0, 13, 0, 14]))
put = FileRecord(file_number=4, record_number=3, record_data=b"\x12\x34")
good("write file", client.write_file_record([put], **at))
same("file then", good("file", client.read_file_record([ask], **at)).records[0].record_data, bytes([0, 12, 0x12, 0x34, 0, 14]))
# (In RTU pymodbus takes a queue's reply for two bytes shorter than it is.)
if "rtu" not in kind:
    same("queue", good("queue", client.read_fifo_queue(address=500, **at)).values, [440, 4740, 5])
names = good("names", client.read_device_information(read_code=1, object_id=0, **at)).information
same("names", names, {0: b"hilrig", 1: b"PLC-17", 2: b"1.2"})
more = good("more names", client.read_device_information(read_code=2, object_id=0, **at)).information
same("more names", more.get(4), b"a PLC")
level = good("level", client.read_holding_registers(300, count=2, **at)).registers
same("level", client.convert_from_registers(level, client.DATATYPE.FLOAT32, word_order="little"), -0.15625)



# A function of the user's own.
class Ask(ModbusPDU):
    function_code = 65

    def encode(self):
        return b"\x01\x09"


class Answer(ModbusPDU):
    function_code = 65
    rtu_frame_size = 6
    data = b""

    def decode(self, data):
        self.data = data


client.register(Answer)
same("its own function", good("its own function", client.execute(False, Ask(dev_id=17))).data, b"\xaa\xbb")

# What only a serial line has.
if kind in ("rtu", "ascii"):
    same("status", good("status", client.read_exception_status(**at)).status, 0x55)
    same("server id", b"pump 17" in good("server id", client.report_device_id(**at)).identifier, True)
    good("event counter", client.diag_get_comm_event_counter(**at))
    good("event log", client.diag_get_comm_event_log(**at))
    client.write_register(100, 4242, device_id=0, no_response_expected=True)
    same("broadcast", good("holding", client.read_holding_registers(100, count=1, **at)).registers, [4242])
    good("restart", client.diag_restart_communication(False, **at))
    same("query data", good("query data", client.diag_query_data(b"\x12\x34", **at)).message, b"\x12\x34")
    for name in ("bus_message", "bus_comm_error", "bus_exception_error", "device_message", "device_no_response"):
        count = good(name, getattr(client, f"diag_read_{name}_count")(**at))
        same(name, isinstance(count.message, int) or len(count.message) >= 1, True)

# Hundreds in a row, on this one connection.
for i in range(200):
    same(f"again {i}", good("again", client.read_holding_registers(160, count=4, **at)).registers, holding[160:164])

client.close()
print(f"{wrong} wrong")
sys.exit(min(wrong, 1))
