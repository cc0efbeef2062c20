"""Sets everything a serial port has over RFC 2217 with gensio as the client, one call after the other, and prints
`NAME VALUE` for each answer or `NAME error: WHY`. Usage: gensio_client.py PORT"""
import sys

import gensio


class Handler:
    """Keeps what the server tells, and data."""

    def __init__(self):
        self.states = []

    def read_callback(self, io, err, buf, auxdata):
        return len(buf or b"")

    def write_callback(self, io):
        pass

    def modemstate(self, io, state):
        self.states.append(state)

    def linestate(self, io, state):
        pass


class Log:
    def gensio_log(self, level, log):
        print("log", level, log, file=sys.stderr)


def main():
    os_funcs = gensio.alloc_gensio_selector(Log())
    handler = Handler()
    io = gensio.gensio(os_funcs, f"telnet(rfc2217),tcp,127.0.0.1,{sys.argv[1]}", handler)
    io.open_s()
    io.read_cb_enable(True)
    port = io.cast_to_sergensio()
    settings = [("baud", value) for value in (9600, 115200, 12345, 250000, 0)]
    settings += [("datasize", value) for value in (5, 6, 7, 8)]
    parities = ("NONE", "ODD", "EVEN", "MARK", "SPACE")
    settings += [("parity", getattr(gensio, "SERGENSIO_PARITY_" + name)) for name in parities]
    settings += [("stopbits", value) for value in (2, 1)]
    flows = ("XON_XOFF", "RTS_CTS", "NONE")
    settings += [("flowcontrol", getattr(gensio, "SERGENSIO_FLOWCONTROL_" + name)) for name in flows]
    settings += [("sbreak", gensio.SERGENSIO_BREAK_ON), ("sbreak", gensio.SERGENSIO_BREAK_OFF)]
    settings += [("dtr", gensio.SERGENSIO_DTR_OFF), ("dtr", gensio.SERGENSIO_DTR_ON)]
    settings += [("rts", gensio.SERGENSIO_RTS_OFF), ("rts", gensio.SERGENSIO_RTS_ON)]
    for name, value in settings:
        try:
            answer = getattr(port, f"sg_{name}_s")(value)
        except Exception as why:  # pylint: disable=broad-except
            answer = f"error: {why}"
        print(f"{name} {value} {answer}", flush=True)
    # What the last settings lead to may still be under way.
    waiter = gensio.waiter(os_funcs)
    for _ in range(200):
        if handler.states and handler.states[-1] & 0xB0 == 0xB0:
            break
        waiter.wait_timeout(1, 50)
    print("modemstates", *handler.states)
    io.close_s()


main()
