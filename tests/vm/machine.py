"""One virtual machine: starts QEMU, gives it programs, runs commands inside, pulls and plugs devices."""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import image

BOOT_LIMIT = 90


class Failed(Exception):
    """A case did not show what it was to show."""


def wait_for(what, look, limit=10.0):
    """Looks until it finds something true, and answers that."""
    until = time.monotonic() + limit
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > until:
            raise Failed(f"{what}: not within {limit:g} s")
        time.sleep(0.02)


class Socket:
    """The host's end of a line of the machine."""

    def __init__(self, path, telnet=False):
        self.socket, self.telnet, self.kept = socket.socket(socket.AF_UNIX), telnet, b""
        wait_for(f"{path.name} of QEMU", lambda: self.socket.connect_ex(str(path)) == 0)
        self.socket.setblocking(False)

    def send(self, data):
        self.socket.setblocking(True)
        self.socket.sendall(data.replace(b"\xff", b"\xff\xff") if self.telnet else data)
        self.socket.setblocking(False)

    def send_break(self):
        self.socket.sendall(b"\xff\xf3")

    def more(self, limit):
        """Reads what there is, waiting at most so long for the first byte."""
        if select.select([self.socket], [], [], max(0, limit))[0]:
            data = self.socket.recv(65536)
            if not data:
                raise Failed("the machine has ended")
            self.kept += data
            return True
        return False

    def until(self, pattern, limit):
        """Takes everything up to the end of a match."""
        end = time.monotonic() + limit
        while not (found := re.search(pattern, self.kept, re.S)):
            left = end - time.monotonic()
            if left <= 0:
                raise Failed(f"{pattern!r} did not come within {limit:g} s; got {self.kept[-300:]!r}")
            self.more(left)
        self.kept = self.kept[found.end() :]
        return found

    def expect(self, data, limit=10.0):
        """The next bytes must be these."""
        end = time.monotonic() + limit
        while len(self.kept) < len(data) and (left := end - time.monotonic()) > 0:
            self.more(left)
        got, self.kept = self.kept[: len(data)], self.kept[len(data) :]
        if got != data:
            raise Failed(f"expected {data[:60]!r} ({len(data)} bytes), got {got[:60]!r} ({len(got)} bytes)")

    def drain(self):
        while self.more(0):
            pass
        gone, self.kept = self.kept, b""
        return gone


class Machine:
    """Devices: `usb`, an FTDI adapter; `pci`, a 8250 UART (ttyS1); `far`, another one for the other end of a link
    (ttyS2)."""

    def __init__(self, kernel, archive, programs):
        self.folder = Path(tempfile.mkdtemp(prefix="hilrig-vm-"))
        (self.folder / "initrd").write_bytes(pad(archive.read_bytes()) + programs)
        self.log = self.folder / "console.log"
        self.qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-M", "q35", "-accel", os.environ.get("ACCEL", "tcg"), "-cpu", "max", "-smp", "2"]
            + ["-m", "384", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
            + ["-kernel", kernel, "-initrd", self.folder / "initrd"]
            + ["-append", "console=ttyS0 quiet panic=-1 rdinit=/init tsc=reliable mitigations=off random.trust_cpu=on"]
            + ["-chardev", f"file,id=console,path={self.log}", "-serial", "chardev:console"]
            + [*self.chardev("command"), "-device", "virtio-serial-pci"]
            + ["-device", "virtserialport,chardev=command,name=command"]
            + ["-qmp", f"unix:{self.folder}/qmp,server=on,wait=off", "-device", "qemu-xhci,id=xhci"]
            + [*self.chardev("usb", telnet=True), "-device", "usb-serial,chardev=usb,id=usb0,bus=xhci.0"]
            + [*self.chardev("pci", telnet=True), "-device", "pci-serial,chardev=pci,id=pci0"]
            + [*self.chardev("far"), "-device", "pci-serial,chardev=far,id=far0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "qemu.log").open("wb"),
            start_new_session=True,
        )
        try:
            self.command = Socket(self.folder / "command")
            self.control = Socket(self.folder / "qmp")
            self.control.until(rb"QMP.*?\n", 10)
            self.qmp("qmp_capabilities")
            self.command.until(rb"@@ready\r?\n", BOOT_LIMIT)
            self.usb = Socket(self.folder / "usb", telnet=True)
            self.pci = Socket(self.folder / "pci", telnet=True)
            self.far = Socket(self.folder / "far")
        except (Failed, OSError) as e:
            said = (self.folder / "qemu.log").read_text(errors="replace") + self.console()
            self.stop()
            raise Failed(f"the machine does not start: {e}\n{said[-2000:]}") from None

    def chardev(self, name, telnet=False):
        kind = ",telnet=on" if telnet else ""
        return ["-chardev", f"socket,id={name},path={self.folder}/{name},server=on,wait=off{kind}"]

    def console(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def qmp(self, execute, **arguments):
        self.control.send(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
        found = self.control.until(rb'(\{"(?:return|error)".*?\})\r?\n', 10)
        answer = json.loads(found.group(1))
        if "error" in answer:
            raise Failed(f"QEMU refuses {execute}: {answer['error']['desc']}")
        return answer["return"]

    def sh(self, line, limit=15.0, code=0):
        """Runs a line of shell inside and answers what it printed."""
        self.command.send(line.encode() + b"\n")
        found = self.command.until(rb"(.*?)\n@@end (\d+)\n", limit)
        text, got = found.group(1).decode(errors="replace"), int(found.group(2))
        if code is not None and got != code:
            raise Failed(f"`{line}` ended with {got}, not {code}: {text}")
        return text

    def wait(self, line, limit=10.0):
        """Runs a line inside until it succeeds."""
        return wait_for(line, lambda: self.sh(f"{line} && echo @yes", code=None).partition("@yes")[1], limit)

    def plug(self, identity, driver, chardev, bus, **properties):
        """Adds a device as soon as the last one with this line is gone."""

        def look():
            try:
                self.qmp("device_add", driver=driver, id=identity, chardev=chardev, bus=bus, **properties)
                return True
            except Failed as e:
                if "in use" in str(e) or "Duplicate" in str(e):
                    return False
                raise

        wait_for(f"to plug in {identity}", look)

    def stop(self):
        if self.qemu.poll() is None:
            os.killpg(self.qemu.pid, signal.SIGKILL)
        self.qemu.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def pad(archive):
    # The second archive must begin at a multiple of four.
    return archive + bytes(-len(archive) % 4)


def pack(programs):
    """An archive with these programs (names and paths) in /test, and the libraries they are linked with."""
    archive, libraries = image.Archive(), {}
    with tempfile.TemporaryDirectory() as work:
        for name, program in programs.items():
            copy = Path(work, name)
            shutil.copy(program, copy)
            if shutil.which("strip"):
                subprocess.run(["strip", copy], check=True)
            archive.file(f"test/{name}", copy.read_bytes())
            listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
            for path in re.findall(r"(?:=> )?(/\S+) \(0x", listed):
                libraries[path] = Path(path)
    for name, path in sorted(libraries.items()):
        archive.file(name.lstrip("/"), path.resolve().read_bytes())
    return archive.bytes()
