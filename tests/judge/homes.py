"""Homes with the files of other programs in them, and frazil run in such a home with no other variables.

It promises that no canary shows: not in what was said, not in the words of the process, not in what its children are
given. It does not know what the files mean.
"""

import contextlib
import http.server
import json
import pathlib
import ssl
import threading
import time

from command import binary, measured, spawn

CANARY = "CANARY"


class Home:
    """A home in a folder. `files` are texts by their path in it."""

    def __init__(self, folder: pathlib.Path, files: dict[str, str]):
        self.folder = pathlib.Path(folder)
        for path, text in files.items():
            self.write(path, text)

    def write(self, path, text, mode=0o600):
        """Writes a file as careful programs do: readers see the old one or the new one."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(place.name + ".new")
        fresh.write_text(text)
        fresh.chmod(mode)
        fresh.replace(place)
        return place

    def environment(self, variables):
        return ["env", "-i", f"HOME={self.folder}", "PATH=/usr/bin:/bin", f"XDG_CACHE_HOME={self.folder}/cache", *(f"{name}={value}" for name, value in variables.items())]

    def frazil(self, *words, code=0, **variables):
        """Runs `frazil WORDS`, which must end with `code` (`None`: any but a crash)."""
        answer = measured([*self.environment(variables), *binary(), *map(str, words)], timeout=300)
        assert answer.crash() is None, answer
        assert CANARY not in answer.text, f"a secret shows:\n{answer.text}"
        assert code is None or answer.code == code, answer
        return answer

    def start(self, *words, **variables):
        """Starts `frazil WORDS` and does not wait."""
        out = (self.folder / "out").open("w+")
        return spawn([*self.environment(variables), *binary(), *map(str, words)], out=out, err=out), out


def keys_of(credentials: dict, **more) -> str:
    """What a `credential_process` prints."""
    return json.dumps({"Version": 1, "AccessKeyId": credentials["AccessKeyId"], "SecretAccessKey": credentials["SecretAccessKey"], "SessionToken": credentials.get("SessionToken"), **more})


@contextlib.contextmanager
def answering(answer, certificate=None):
    """A web server on this machine: `answer(request)` is `(status, headers, body)`, and `.seen` has every request.

    With a `certificate` and its key it speaks TLS.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with server.lock:
                server.seen.append((self.command, self.headers.get("Host"), self.path, {name.lower(): value for name, value in self.headers.items()}, self.body.decode()))
            status, headers, body = answer(self)
            self.send_response(status)
            for name, value in [*headers, ("Content-Length", str(len(body)))]:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_POST = do_PUT = do_HEAD = do_GET

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.lock, server.seen = threading.Lock(), []
    server.address = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        # The hands are shaken by the thread of the connection: one that breaks off must not stop the others.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    # Whoever does not trust it breaks off; that is no news.
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def slowly(address: str, seconds: float):
    """A way to `address` on which everything that is asked takes so long; yields its address."""
    import socket

    host, port = address.removeprefix("http://").split(":")
    listener = socket.create_server(("127.0.0.1", 0))
    is_open = True

    def pass_on(source, target, pause):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                time.sleep(pause)
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept():
        while is_open:
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                server = socket.create_connection((host, int(port)))
                for ends in ((client, server, seconds), (server, client, 0)):
                    threading.Thread(target=pass_on, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        is_open = False
        listener.close()
