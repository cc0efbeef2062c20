"""The cases: what hilrig must show on ftdi_sio, on a 8250, and on cdc-acm. Each leaves the machine as it was."""

import json
import re
import time

from machine import Failed, wait_for

ALL = []
BYTES = bytes(range(256)) * 8


def case(function):
    ALL.append(function)
    return function


def expect(condition, what):
    if not condition:
        raise Failed(what)


def evidence(vm):
    """What the machine has to say after a failure."""
    try:
        logs = 'for log in $(ls -t /run/*.log | head -n 3); do echo "--- $log"; tail -n 20 $log; done'
        return vm.sh(f"{logs}; dmesg | tail -n 10", code=None)
    except (Failed, OSError) as e:
        return f"the machine does not answer any more: {e}\n{vm.console()[-2000:]}"


class Program:
    """A program that runs inside until it is told to end."""

    count = 0

    def __init__(self, vm, command):
        Program.count += 1
        self.vm, self.name, self.seen = vm, f"/run/{Program.count}", 0
        vm.sh(f"mkfifo {self.name}.in; {command} <>{self.name}.in >{self.name}.log 2>&1 & echo $! >{self.name}.pid")

    def log(self):
        return self.vm.sh(f"cat {self.name}.log")

    def until(self, pattern, limit=10.0):
        """Waits for a line that came after the one found last."""

        def look():
            found = re.compile(pattern, re.M).search(self.log(), self.seen)
            self.seen = found.end() if found else self.seen
            return found

        return wait_for(f"{pattern!r} of {self.name}.log", look, limit)

    def ends(self, limit=5.0):
        wait_for(f"the end of {self.name}", lambda: not self.running(), limit)
        return self.log()

    def running(self):
        return "yes" in self.vm.sh(f"kill -0 $(cat {self.name}.pid) && echo yes", code=None)


class Probe(Program):
    """link_probe between two ports."""

    def __init__(self, vm, a, b="/dev/ttyS2"):
        super().__init__(vm, f"link_probe '{a}' '{b}'")
        self.until("ready$")

    def tell(self, command, answer="done$"):
        self.vm.sh(f"echo '{command}' >{self.name}.in")
        return self.until(answer)

    def stats(self):
        """The figures of port a, as numbers and words."""
        text = self.tell("stats", "stats a (.*)$").group(1)
        return {name: value for name, value in re.findall(r"(\w+): (?:Lines\()?(\w+)", text)}

    def flow(self):
        """What went from a to b and from b to a."""
        self.tell("stats", "stats a ")
        ways = [self.until(f"stats {way} (.*)$").group(1) for way in ("a->b", "b->a")]
        return [{name: int(value) for name, value in re.findall(r"(\w+): (\d+)", way)} for way in ways]

    def quit(self):
        self.vm.sh(f"echo quit >{self.name}.in")
        # The threads that wait for modem lines must not hold it.
        return self.ends()


def link(vm, a, b="/dev/ttyS2"):
    program = Program(vm, f"hilrig link '{a}' '{b}' --json")
    program.until("^link 1: ")
    return program


def finish(program):
    program.vm.sh(f"kill -INT $(cat {program.name}.pid)")
    last = [line for line in program.ends().splitlines() if line.startswith("{")][-1]
    return json.loads(last)


def adapter(vm):
    """Waits for the FTDI adapter and answers its node."""
    vm.wait("ls /dev/ttyUSB*")
    vm.usb.drain()
    return vm.sh("ls /dev/ttyUSB*").split()[0]


def plug(vm):
    vm.plug("usb0", "usb-serial", "usb", "xhci.0", **{"always-plugged": True})


def kernel_time(vm, what):
    """When the kernel said something last, in seconds since its start."""
    return float(re.match(r"\[ *([\d.]+)\]", vm.sh(f"dmesg | grep '{what}' | tail -n 1")).group(1))


@case
def ports_are_found_by_their_names(vm):
    adapter(vm)
    ports = {p["device"]: p for p in json.loads(vm.sh("hilrig ports --json"))["ports"]}
    expect(ports["/dev/ttyUSB0"]["usbId"] == "0403:6001", f"the adapter has another id: {ports['/dev/ttyUSB0']}")
    serial = ports["/dev/ttyUSB0"]["serialNumber"]
    for name in ("usb:0403:6001", f"usb:0403:6001:{serial}", "/dev/ttyUSB*"):
        probe = Probe(vm, name)
        vm.usb.send(b"hello")
        vm.far.expect(b"hello")
        probe.quit()
    refusals = {
        "/dev/ttyS[12]": "several ports fit: /dev/ttyS1, /dev/ttyS2;",
        "/dev/ttyACM*": "there is no such port; there is /dev/ttyS0",
        "usb:1a86:7523": "there is no such port;",
        "usb:0403:6001:other": "there is no such port;",
    }
    for name, why in refusals.items():
        said = vm.sh(f"link_probe '{name}' /dev/ttyS2", code=1)
        expect(why in said, f"{name}: {said}")


@case
def ftdi_carries_every_byte_both_ways(vm):
    program = link(vm, f"serial:{adapter(vm)}?baud=115200", "serial:/dev/ttyS2?baud=115200")
    vm.usb.send(BYTES)
    vm.far.expect(BYTES)
    vm.far.send(BYTES)
    vm.usb.expect(BYTES)
    traffic = finish(program)["traffic"]
    for way in traffic:
        expect(way["bytesIn"] == way["bytesOut"] == len(BYTES), f"counted otherwise: {way}")


def holds(vm, program, node):
    """Since when, at the latest, the program has the node open, in seconds since the machine's start; 0: it has not."""
    has = f"ls -l /proc/$(cat {program.name}.pid)/fd 2>/dev/null | grep -q {node}"
    said = vm.sh(f"{has} && cut -d' ' -f1 /proc/uptime", code=None)
    return float(said.strip() or 0)


def returns(vm, program, name, attached):
    """Waits until the program has the node open again, soon after the kernel has made it."""
    took = wait_for("the link's return", lambda: holds(vm, program, name), 15) - kernel_time(vm, attached)
    expect(took < 1, f"it took {took:.3f} s from the node's return")


def goes(vm, program, name):
    """Waits until the program has let go of a node that is gone."""
    wait_for("the loss", lambda: not holds(vm, program, name))


def received(vm):
    """Bytes that ttyS2 has received, as the driver counts them."""
    return int(re.search(r"^2:.* rx:(\d+)", vm.sh("cat /proc/tty/driver/serial"), re.M).group(1))


@case
def a_link_outlives_its_adapter(vm):
    adapter(vm)
    program = link(vm, "usb:0403:6001?baud=115200", "serial:/dev/ttyS2?baud=115200")
    for _ in range(2):
        vm.far.send(b"here")
        vm.usb.expect(b"here")
        vm.qmp("device_del", id="usb0")
        goes(vm, program, "ttyUSB")
        before = received(vm)
        vm.far.send(b"nobody hears this")
        wait_for("the bytes that are for nobody", lambda: received(vm) == before + 17)
        plug(vm)
        returns(vm, program, "ttyUSB", "attached to ttyUSB")
        vm.usb.drain()
        vm.far.send(b"and here")
        vm.usb.expect(b"and here")
        vm.usb.send(b"and back")
        vm.far.expect(b"and back")
    seen = finish(program)
    expect(seen["ports"][0]["reconnects"] == 2, f"two returns are to be counted: {seen['ports'][0]}")
    back, there = seen["traffic"]
    expect(back["bytesIn"] == back["bytesOut"] == 16, f"counted otherwise: {back}")
    expect((there["bytesOut"], there["discardedBytes"]) == (24, 34), f"counted otherwise: {there}")


@case
def a_link_finds_its_adapter_under_another_name(vm):
    node = adapter(vm)
    program = link(vm, "usb:0403:6001")
    # Whoever holds the node keeps its number from being given out again.
    vm.sh(f"sleep 60 <{node} & echo $! >/run/holder")
    vm.qmp("device_del", id="usb0")
    goes(vm, program, "ttyUSB")
    plug(vm)
    returns(vm, program, "ttyUSB", "attached to ttyUSB")
    expect(vm.sh("ls /dev/ttyUSB*").split() != [node], "the adapter has its old name")
    vm.usb.drain()
    vm.usb.send(b"found")
    vm.far.expect(b"found")
    finish(program)
    vm.sh("kill $(cat /run/holder)")
    # As it was, for the next one.
    vm.qmp("device_del", id="usb0")
    vm.wait("! ls /dev/ttyUSB*")
    plug(vm)
    adapter(vm)


@case
def ftdi_sets_lines_and_breaks_at_any_baud(vm):
    probe = Probe(vm, f"serial:{adapter(vm)}?baud=12345&low_latency=on")
    expect("warning" not in probe.log(), "12345 baud are within its reach")
    vm.usb.send(b"\xff\x00y")
    vm.far.expect(b"\xff\x00y")
    # What QEMU's adapter makes of these cannot be seen (and a break it receives it tells in a way that the driver
    # takes no notice of); the 8250 shows the rest.
    probe.tell("lines a dtr=off rts=off")
    probe.tell("lines a dtr=on rts=on")
    probe.tell("break a 50")
    vm.usb.send(b"after")
    vm.far.expect(b"after")
    log = probe.quit()
    expect(log.count("event a Lines") == 1, f"lines that did not change are told: {log}")


@case
def uart_tells_breaks_and_keeps_every_byte(vm):
    probe = Probe(vm, "serial:/dev/ttyS1?baud=115200", "serial:/dev/ttyS2?baud=115200")
    vm.pci.drain()
    for _ in range(3):
        vm.pci.send(b"a\x00b\xff")
        vm.far.expect(b"a\x00b\xff")
        vm.pci.send_break()
        probe.until("event a Break")
    vm.pci.send(BYTES)
    vm.far.expect(BYTES)
    stats, way = probe.stats(), probe.flow()[0]
    expect(stats["breaks"] == "3" and stats["framing_errors"] == "0", f"counted otherwise: {stats}")
    expect(way["bytes_in"] == way["bytes_out"] == 12 + len(BYTES), f"does not add up: {way}")
    probe.tell("break a 50")
    vm.far.send(b"still there")
    vm.pci.expect(b"still there")
    probe.quit()
    # The kernel's own count.
    expect(re.search(r"^1:.* brk:3", vm.sh("cat /proc/tty/driver/serial"), re.M), "the driver counts otherwise")


@case
def uart_takes_any_baud_and_says_how_well(vm):
    # Above its highest rate the driver keeps the last one.
    for baud, runs in [(9600, 9600), (12345, 12800), (38000, 38400), (250000, 38400)]:
        probe = Probe(vm, f"serial:/dev/ttyS1?baud={baud}&format=7E2")
        warned = f"warning the port cannot do {baud} baud and runs at {runs};" in probe.log()
        expect(warned == (baud in (12345, 250000)), f"{baud}: {probe.log()}")
        expect(int(probe.stats()["baud"]) == runs, f"{baud}: {probe.stats()}")
        probe.quit()


def driven(vm):
    """DTR and RTS of ttyS1 as the driver has them."""
    line = re.search(r"^1:.*$", vm.sh("cat /proc/tty/driver/serial"), re.M).group(0)
    return {name for name in ("DTR", "RTS") if name in re.split(r"[ |]", line)}


@case
def uart_lines_change_only_when_asked(vm):
    both = {"DTR", "RTS"}
    probe = Probe(vm, "/dev/ttyS1")
    expect(driven(vm) == both, "the kernel raises both at open")
    probe.tell("lines a dtr=off rts=off")
    expect(driven(vm) == set(), "both are to be off")
    probe.tell("lines a rts=on")
    expect(driven(vm) == {"RTS"}, "only RTS is to be on")
    probe.tell("lines a dtr=on")
    probe.quit()
    expect(driven(vm) == both, "the close has lowered them")
    probe = Probe(vm, "serial:/dev/ttyS1?dtr=off&hupcl=on")
    expect(driven(vm) == {"RTS"}, "DTR is to be off from the start")
    probe.quit()
    expect(driven(vm) == set(), "with hupcl the close lowers them")


@case
def uart_refuses_other_users_and_missing_modes(vm):
    probe = Probe(vm, "serial:/dev/ttyS1?rs485=on&low_latency=on")
    expect(re.search("warning .*cannot switch the driver to RS-485", probe.log()), probe.log())
    said = vm.sh("link_probe /dev/ttyS1 /dev/ttyS2", code=1)
    expect(re.search(r"the port is busy: link_probe \(process \d+\) has it open;", said), said)
    probe.quit()


def gadget(vm):
    """A CDC-ACM device whose other end, ttyGS0, is in the same machine."""
    made = "[ -d /sys/kernel/config/usb_gadget/g ] || { cd /sys/kernel/config/usb_gadget && mkdir g && cd g"
    made += " && echo 0x1d6b >idVendor && echo 0x0104 >idProduct && mkdir strings/0x409 configs/c.1 functions/acm.0"
    made += " && echo SN-42 >strings/0x409/serialnumber && ln -s functions/acm.0 configs/c.1; }"
    vm.sh(made)
    bind(vm, "dummy_udc.0")
    vm.wait("[ -e /dev/ttyACM0 ]")


def bind(vm, udc):
    vm.sh(f"echo '{udc}' >/sys/kernel/config/usb_gadget/g/UDC")


def lines_become(probe, wanted):
    """Waits until DCD and DSR are as wanted."""
    while int(probe.until(r"event a Lines\(Lines\((\d+)\)\)").group(1)) & 0x06 != wanted:
        pass


@case
def cdc_acm_tells_lines_and_breaks(vm):
    gadget(vm)
    probe = Probe(vm, "usb:1d6b:0104:SN-42")
    waits = vm.sh(f"cat /proc/$(cat {probe.name}.pid)/task/*/wchan")
    expect("wait_serial_change" in waits or "acm_tty_ioctl" in waits, f"nobody waits in TIOCMIWAIT: {waits}")
    # To open the other end is what raises DSR and DCD.
    other = Probe(vm, "/dev/ttyGS0", "pty:other")
    lines_become(probe, 0x06)
    other.tell("break a 30")
    probe.until("event a Break")
    expect(probe.stats()["breaks"] == "1", f"one break came: {probe.stats()}")
    # This device says that it takes no breaks; that must not end anything.
    probe.tell("break a 30", "done$|refused ")
    probe.tell("lines a dtr=off rts=on")
    other.quit()
    lines_become(probe, 0)
    probe.quit()
    bind(vm, "")


@case
def cdc_acm_lines_and_breaks_cross_a_network(vm):
    gadget(vm)
    server = Probe(vm, "/dev/ttyACM0", "rfc2217-listen:127.0.0.1:7000")
    client = Probe(vm, "rfc2217:127.0.0.1:7000", "/dev/ttyS2")
    other = Probe(vm, "/dev/ttyGS0", "pty:other")
    lines_become(client, 0x06)
    other.tell("break a 30")
    client.until("event a Break")
    client.tell("lines a dtr=off rts=off")
    wait_for("DTR and RTS of the device", lambda: int(server.stats()["lines"]) & 0x18 == 0)
    vm.far.send(b"through \xff\x00 all")
    wait_for("bytes at the other end", lambda: other.flow()[0]["bytes_in"] == 14)
    other.quit()
    lines_become(client, 0)
    client.quit()
    server.quit()
    bind(vm, "")


@case
def a_link_outlives_its_cdc_acm_device(vm):
    gadget(vm)
    program = link(vm, "/dev/ttyACM0")
    for _ in range(3):
        bind(vm, "")
        goes(vm, program, "ttyACM0")
        bind(vm, "dummy_udc.0")
        returns(vm, program, "ttyACM0", "ttyACM0: USB ACM device")
    other = Probe(vm, "/dev/ttyGS0", "pty:other")
    vm.far.send(b"there")
    wait_for("bytes at the other end", lambda: other.flow()[0]["bytes_in"] == 5)
    expect(finish(program)["ports"][0]["reconnects"] == 3, "three returns are to be counted")
    other.quit()
    bind(vm, "")


@case
def a_port_is_pulled_while_it_is_busy(vm):
    node = adapter(vm)
    probe = Probe(vm, f"serial:{node}?baud=115200", "serial:/dev/ttyS2?baud=115200")
    vm.far.send(BYTES * 8)
    vm.qmp("device_del", id="usb0")
    probe.until("event a Lost")
    wait_for("all bytes", lambda: probe.flow()[1]["bytes_in"] == len(BYTES) * 8)
    back = probe.flow()[1]
    expect(back["pending"] == 0, f"bytes wait for a port that is gone: {back}")
    expect(back["bytes_in"] == back["bytes_out"] + back["discarded_bytes"], f"does not add up: {back}")
    probe.quit()
    plug(vm)
    adapter(vm)


@case
def the_kernel_has_nothing_to_complain_about(vm):
    said = vm.sh("dmesg | grep -E 'BUG|Oops|WARNING|hung|refcount'", code=None).strip()
    expect(not said, said)
