"""A pymodbus server to be asked by hilrig: pymodbus_server.py FRAMER ADDRESS

FRAMER is rtu or ascii for a serial port, tcp or rtu-over-tcp for a port of this machine that is chosen by the system.
Prints `ready` and the port once it serves. Unit 17: holding registers 0 to 199 from 1000 on, input registers 0 to 9 from
7 on, coils 0 to 31 of which every second is on, discrete inputs 0 to 31 of which every third is on."""

import asyncio
import sys

from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

kind, address = sys.argv[1:]


async def main():
    bits = lambda every: [i % every == every - 1 if every == 2 else i % every == 0 for i in range(32)]
    device = SimDevice(
        17,
        (
            [SimData(0, values=bits(2), datatype=DataType.BITS)],
            [SimData(0, values=bits(3), datatype=DataType.BITS)],
            [SimData(0, values=[1000 + i for i in range(200)], datatype=DataType.REGISTERS)],
            [SimData(0, values=list(range(7, 17)), datatype=DataType.REGISTERS)],
        ),
    )
    if kind in ("rtu", "ascii"):
        server = ModbusSerialServer(device, framer=FramerType(kind), port=address, baudrate=19200)
        await server.serve_forever(background=True)
        print("ready 0", flush=True)
    else:
        framer = {"tcp": "socket", "rtu-over-tcp": "rtu", "ascii-over-tcp": "ascii"}[kind]
        server = ModbusTcpServer(device, framer=FramerType(framer), address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        print("ready", server.transport.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(3600)


asyncio.run(main())
