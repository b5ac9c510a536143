"""Bodies of requests as they travel: in chunks, in related parts, as calls that were put together.

It promises the bytes as they were sent. It knows no meaning of them.
"""

import dataclasses
import http
import json
import re


def read(handler) -> bytes:
    """The whole body of the request that `handler` (of `http.server`) has read the head of."""
    if handler.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    pieces = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        pieces.append(handler.rfile.read(size))
        handler.rfile.readline()
    while handler.rfile.readline().strip():
        pass
    return b"".join(pieces)


def related(content_type, body) -> tuple[dict, str, bytes]:
    """The description, the type and the bytes of a `multipart/related` body."""
    boundary = b"--" + re.search(r"boundary=[\"']?([^\"';]+)", content_type)[1].encode()
    first, second = body.split(boundary, 2)[1:]
    described = json.loads(re.split(rb"\r?\n\r?\n", first, maxsplit=1)[1])
    head, content = re.split(rb"\r?\n\r?\n", second, maxsplit=1)
    # The last boundary is the last one: the bytes may hold anything.
    content = content[: content.rindex(boundary)]
    content = content[:-2] if content.endswith(b"\r\n") else content[:-1]
    found = re.search(rb"(?i)content-type: *([^\r\n]+)", head)
    return described, found[1].decode() if found else "application/octet-stream", content


@dataclasses.dataclass
class Call:
    """One request within a request."""

    identity: str
    method: str
    target: str
    headers: dict
    content: bytes


def calls(content_type, body) -> list[Call]:
    """The requests in a `multipart/mixed` body of `application/http`."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)[1].encode()
    found = []
    for number, piece in enumerate(body.split(b"--" + boundary)[1:-1]):
        outer, _, inner = piece.strip(b"\r\n").replace(b"\r\n", b"\n").partition(b"\n\n")
        head, _, content = inner.partition(b"\n\n")
        line, *lines = head.decode().split("\n")
        method, target = line.split()[:2]
        headers = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        identity = re.search(rb"(?i)content-id: *<?([^>\n]*)", outer)
        found.append(Call(identity[1].decode() if identity else str(number), method, target, headers, content.strip()))
    return found


def of_calls(answers) -> tuple[bytes, dict]:
    """The body and the headers that answer `calls`: each is (identity, status, text)."""
    pieces = [
        f"--judge\r\nContent-Type: application/http\r\nContent-ID: <response-{identity}>\r\n\r\n"
        f"HTTP/1.1 {code} {http.HTTPStatus(code).phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}\r\n"
        for identity, code, text in answers
    ]
    return ("".join(pieces) + "--judge--\r\n").encode(), {"Content-Type": "multipart/mixed; boundary=judge"}
