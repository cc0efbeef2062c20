"""Builds what the test machine boots: a stock Debian kernel and a first archive with busybox and a few modules.

Needs no root and no kernel headers: two packages are downloaded with apt and taken apart. The result is kept and
made anew only when the kernel package or this file changes.
"""

import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

MODULES = "virtio_pci virtio_console xhci-pci ftdi_sio cdc-acm dummy_hcd libcomposite usb_f_acm".split()
HERE = Path(__file__).resolve().parent


class Missing(Exception):
    """Something this machine does not have; the lane is skipped."""


def run(*command, cwd=None):
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
    return done.stdout


def kernel_package():
    """The package that linux-image-amd64 stands for, with its version."""
    for attempt in range(2):
        try:
            lines = run("apt-cache", "depends", "linux-image-amd64")
            name = re.search(r"Depends: (linux-image-\d\S*)", lines).group(1)
            version = re.search(r"^Version: (\S+)", run("apt-cache", "show", name), re.M).group(1)
            return name, version
        except (Missing, AttributeError):
            if attempt:
                raise Missing("the package linux-image-amd64 (apt-cache knows none)") from None
            root = [] if os.getuid() == 0 else ["sudo", "-n"]
            subprocess.run([*root, "apt-get", "update", "-q"], stdin=subprocess.DEVNULL, capture_output=True)


def unpack_kernel(image):
    """bzImage -> ELF, which QEMU boots without the (in emulation slow) decompressor of the kernel."""
    setup = (image[0x1F1] or 4) + 1
    offset = int.from_bytes(image[0x248:0x24C], "little")
    length = int.from_bytes(image[0x24C:0x250], "little")
    payload = image[setup * 512 + offset :][:length]
    if payload[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(payload)
    if payload[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31).decompress(payload)
    if payload[:4] == b"\x28\xb5\x2f\xfd" and shutil.which("zstd"):
        return subprocess.run(["zstd", "-dcq"], input=payload[:-4], stdout=subprocess.PIPE, check=True).stdout
    return image


def load_module(path):
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def modules(tree, wanted):
    """The modules and those they need, each after what it needs, as (name, bytes)."""
    files = {p.name.split(".ko")[0].replace("-", "_"): p for p in tree.rglob("*.ko*")}
    done = {}

    def add(name):
        name = name.replace("-", "_")
        # What has no file is part of the kernel itself.
        if name in done or name not in files:
            return
        data = load_module(files[name])
        done[name] = None
        for other in re.search(rb"\0depends=([^\0]*)\0", data).group(1).decode().split(","):
            add(other)
        del done[name]
        done[name] = data

    for name in wanted:
        add(name)
    return list(done.items())


class Archive:
    """A cpio archive as the kernel reads it (format newc)."""

    def __init__(self):
        self.parts, self.folders = [], set()

    def _entry(self, name, mode, data=b"", rdev=(0, 0)):
        number = len(self.parts) + 1
        fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        self.parts.append(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))

    def folder(self, name):
        if name and name not in self.folders:
            self.folder(name.rpartition("/")[0])
            self.folders.add(name)
            self._entry(name, 0o040755)

    def file(self, name, data, mode=0o100755):
        self.folder(name.rpartition("/")[0])
        self._entry(name, mode, data)

    def link(self, name, target):
        self.folder(name.rpartition("/")[0])
        self._entry(name, 0o120777, target.encode())

    def device(self, name, major, minor):
        self.folder(name.rpartition("/")[0])
        self._entry(name, 0o020600, rdev=(major, minor))

    def bytes(self):
        self._entry("TRAILER!!!", 0)
        return b"".join(self.parts)


def build(cache):
    """Answers the paths of a kernel and of an archive, made now or earlier."""
    name, version = kernel_package()
    key = hashlib.sha256(f"{name} {version}".encode())
    for source in (Path(__file__), HERE / "init"):
        key.update(source.read_bytes())
    ready = cache / key.hexdigest()[:16]
    if not ready.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            make(name, Path(work))
            for old in cache.iterdir():
                if old.is_dir() and len(old.name) == 16:
                    shutil.rmtree(old)
            os.rename(Path(work, "out"), ready)
            # TemporaryDirectory removes the rest.
    return ready / "kernel", ready / "archive.gz"


def make(kernel, work):
    out, tree = work / "out", work / "tree"
    out.mkdir()
    for package in (kernel, "busybox-static"):
        run("apt-get", "-q", "download", package, cwd=work)
        run("dpkg-deb", "-x", str(next(work.glob(f"{package}_*.deb"))), str(tree))
    image = next((tree / "boot").glob("vmlinuz-*")).read_bytes()
    (out / "kernel").write_bytes(unpack_kernel(image))

    archive = Archive()
    for folder in "proc sys dev tmp run etc root test".split():
        archive.folder(folder)
    archive.device("dev/console", 5, 1)
    busybox = next(p for p in tree.rglob("busybox") if p.is_file() and not p.is_symlink() and "bin" in p.parts)
    archive.file("bin/busybox", busybox.read_bytes())
    archive.link("bin/sh", "busybox")
    archive.file("init", (HERE / "init").read_bytes())
    for number, (name, data) in enumerate(modules(tree, MODULES)):
        archive.file(f"modules/{number:02}-{name}.ko", data)
    (out / "archive.gz").write_bytes(gzip.compress(archive.bytes(), 6))
