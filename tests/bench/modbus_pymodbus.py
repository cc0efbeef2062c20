"""A server on pymodbus as its manual shows it: modbus_pymodbus.py tcp PORT | rtu PATH BAUD"""

import asyncio
import sys

from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import StartAsyncSerialServer, StartAsyncTcpServer


async def main(kind, where, baud="19200"):
    # Address 0 of the wire is 1 of the block.
    device = ModbusDeviceContext(hr=ModbusSequentialDataBlock(1, [0] * 100))
    context = ModbusServerContext(devices=device, single=True)
    if kind == "tcp":
        await StartAsyncTcpServer(context, address=("127.0.0.1", int(where)))
    else:
        await StartAsyncSerialServer(context, port=where, baudrate=int(baud))


asyncio.run(main(*sys.argv[1:]))
