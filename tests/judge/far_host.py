"""Another host on a slow line: a network namespace whose only way out is a link of so many bytes a second to one server.

It promises that what runs there reaches nothing but that server, and that link, namespace and relay go with the test. It
needs the right to make network namespaces. The server lies on loopback of this host, so a relay stands at the end of the link.
"""

import contextlib
import dataclasses
import os
import shutil
import socket
import subprocess
import threading
import urllib.parse

NETS = ("192.0.2", "198.51.100", "203.0.113")  # RFC 5737: nobody's, but machines in a container may have one
PIECE_BYTES = 256 << 10


@dataclasses.dataclass
class FarHost:
    """`words` begins a command that runs there; `address` is that of the server as it is seen from there."""

    words: list[str]
    address: str


def run(*words):
    subprocess.run(words, check=True, capture_output=True, timeout=20)


def missing() -> str | None:
    """Why there can be none, if so."""
    for program in ("ip", "tc"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    name = f"frazil-{os.getpid()}-probe"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return "network namespaces may not be made here"
    run("ip", "netns", "delete", name)
    return None


@contextlib.contextmanager
def far_host(server: str, bytes_per_second: int):
    """A host that reaches `server`, an address on loopback, over a link of that width in both directions."""
    taken = subprocess.run(["ip", "-o", "address"], check=True, capture_output=True, text=True).stdout
    net = next(net for net in NETS if f" {net}." not in taken)
    here, there = f"{net}.1", f"{net}.2"
    name, near, far = f"frazil-{os.getpid()}", f"fz{os.getpid()}a", f"fz{os.getpid()}b"
    width = ["root", "tbf", "rate", f"{bytes_per_second * 8}bit", "burst", "256k", "latency", "50ms"]
    run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        run("ip", "address", "add", f"{here}/30", "dev", near)
        run("ip", "link", "set", near, "up")
        for words in (["ip", "address", "add", f"{there}/30", "dev", far], ["ip", "link", "set", far, "up"], ["ip", "link", "set", "lo", "up"], ["tc", "qdisc", "add", "dev", far, *width]):
            run("ip", "netns", "exec", name, *words)
        run("tc", "qdisc", "add", "dev", near, *width)
        target = urllib.parse.urlsplit(server)
        with relay((here, 0), (target.hostname, target.port)) as port:
            yield FarHost(["ip", "netns", "exec", name], f"http://{here}:{port}")
    finally:
        # The link goes with one of its ends.
        subprocess.run(["ip", "link", "delete", near], capture_output=True)
        run("ip", "netns", "delete", name)


@contextlib.contextmanager
def relay(listen, target):
    """Carries every connection to `listen` on to `target`; yields the port."""
    with socket.create_server(listen, backlog=128) as server:
        threading.Thread(target=take_all, args=(server, target), daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            # Closing alone does not wake who waits in `accept`.
            server.shutdown(socket.SHUT_RDWR)


def take_all(server, target):
    while True:
        try:
            taken, _ = server.accept()
        except OSError:
            return
        try:
            onward = socket.create_connection(target, timeout=20)
        except OSError:
            taken.close()
            continue
        onward.settimeout(None)
        for pair in ((taken, onward), (onward, taken)):
            threading.Thread(target=carry, args=pair, daemon=True).start()


def carry(from_, to):
    with contextlib.suppress(OSError):
        while piece := from_.recv(PIECE_BYTES):
            to.sendall(piece)
    for end, how in ((to, socket.SHUT_WR), (from_, socket.SHUT_RD)):
        with contextlib.suppress(OSError):
            end.shutdown(how)
