"""A web server on this machine that serves a folder: honestly, or with one fault.

It promises to count what it sent. It knows byte ranges, entity tags and a plain listing; it does not know formats.
"""

import collections
import contextlib
import hashlib
import http.server
import pathlib
import re
import threading
import time
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body go out in two pieces; the second must not wait until the first is acknowledged.
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        server, path = self.server, self.path.split("?")[0].lstrip("/")
        with server.lock:
            server.requests[path] += 1
            number = server.requests[path]
        place = server.folder / urllib.parse.unquote(path)
        fault = server.fault
        if place.is_dir():
            links = "".join(f'<a href="{p.name}">{p.name}</a>\n' for p in sorted(place.iterdir()))
            return self.send(200, f"<html><body><a href='../'>Parent</a>\n{links}</body></html>".encode(), body, {"Content-Type": "text/html"})
        if path in server.moved:
            return self.send(302, b"", body, {"Location": server.address + server.moved[path]})
        if not place.exists():
            return self.send(404, b"no such file", body)
        if server.delay_seconds:
            time.sleep(server.delay_seconds)
        if fault == "busy" and number <= 2:
            return self.send(503, b"busy", body, {"Retry-After": "0"})
        if fault == "always busy":
            return self.send(503, b"busy", body, {"Retry-After": "0"})
        if fault == "come back later":
            return self.send(503, b"busy", body, {"Retry-After": "50"})
        if fault == "silent":
            # Until the test is over, or longer than any client should wait.
            server.closing.wait(60)
            return None
        if fault == "login page":
            return self.send(200, b"<html>please sign in</html>", body, {"Content-Type": "text/html"})
        headers = {"ETag": self.tag(place), "Accept-Ranges": "bytes"}
        size = place.stat().st_size
        if self.headers.get("If-Match", headers["ETag"]) not in (headers["ETag"], "*"):
            return self.send(412, b"", body, headers)
        if fault == "no tags":
            del headers["ETag"]
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if match is None or fault == "no ranges":
            return self.send(200, place.read_bytes(), body, headers)
        first, last = match.groups()
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last), size - 1) if first and last else size - 1
        if start >= size:
            return self.send(416, b"", body, {"Content-Range": f"bytes */{size}"})
        with place.open("rb") as file:
            file.seek(start)
            part = file.read(end + 1 - start)
        headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        if fault == "other range":
            headers["Content-Range"] = f"bytes {start + 1}-{end + 1}/{size}"
        if fault == "short" and number % 2 == 0:
            part = part[: len(part) // 2]
            headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{size}"
        return self.send(206, part, body, headers, cut=fault == "cut" and number % 2 == 0)

    def tag(self, place):
        """Of the content. The kernel notes each change of a file, so that none has to be read twice."""
        status = place.stat()
        state = (status.st_ino, status.st_ctime_ns, status.st_size)
        with self.server.lock:
            known = self.server.tags.get(place)
        if known is None or known[0] != state:
            with place.open("rb") as file:
                known = state, '"%s"' % hashlib.file_digest(file, "sha256").hexdigest()[:16]
            with self.server.lock:
                self.server.tags[place] = known
        return known[1]

    def send(self, code, content, body, headers=None, cut=False):
        self.send_response(code)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            # A connection that breaks in the middle of a body.
            content = content[: len(content) // 2] if cut else content
            with self.server.lock:
                self.server.sent_bytes += len(content)
                self.server.sent[self.path.split("?")[0].lstrip("/")] += len(content)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(content)
            if cut:
                self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # Many may knock at once.
    request_queue_size = 256


@contextlib.contextmanager
def serving(folder, fault="", delay_seconds=0.0, port=0):
    """The server while it runs: `.address`, `.requests` and `.sent` (bytes) by path, `.sent_bytes`; it sends on what is in `.moved`, and takes
    `delay_seconds` for each answer about a file."""
    server = Server(("127.0.0.1", port), Handler)
    server.moved, server.delay_seconds, server.tags = {}, delay_seconds, {}
    server.folder, server.fault, server.lock = pathlib.Path(folder), fault, threading.Lock()
    server.requests, server.sent, server.sent_bytes = collections.Counter(), collections.Counter(), 0
    server.closing = threading.Event()
    server.address = "http://127.0.0.1" if port == 80 else f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
