"""Servers that do not tell how large a file is, as those that make their answers while they send them (ERDDAP, THREDDS).

`frazil cp` is the download: what came whole is there, byte for byte; what broke off is not there, under any name.
"""

import contextlib
import hashlib
import os
import random
import socket
import threading

import pytest

from command import frazil

SMALL, LARGE = 3_000, (40 << 20) + 7
PIECE_BYTES = 100_000


def in_chunks(content, end=True):
    for at in range(0, len(content), PIECE_BYTES):
        piece = content[at : at + PIECE_BYTES]
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    if end:
        yield b"0\r\n\r\n"


def pieces(content):
    for at in range(0, len(content), PIECE_BYTES):
        yield content[at : at + PIECE_BYTES]


@contextlib.contextmanager
def sending(answer):
    """A server that sends, for its n-th `GET`, the head and the pieces that `answer(n)` gives, and closes. Yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked, lock = [], threading.Lock()

    def serve(client):
        with contextlib.suppress(OSError), client:
            request = b""
            while b"\r\n\r\n" not in request:
                more = client.recv(65536)
                if not more:
                    return
                request += more
            is_head = request.startswith(b"HEAD")
            with lock:
                number = len(asked)
                if not is_head:
                    asked.append(request.decode("latin-1").lower())
            head, body = answer(number)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-netcdf\r\nConnection: close\r\n" + head + b"\r\n")
            if not is_head:
                for piece in body:
                    client.sendall(piece)

    def accept():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x.nc", asked
    finally:
        listener.close()


CHUNKED = b"Transfer-Encoding: chunked\r\n"


def whole(folder):
    """Every file below a folder, workshop included."""
    return {os.path.relpath(os.path.join(at, name), folder): hashlib.sha256(open(os.path.join(at, name), "rb").read()).hexdigest() for at, _, names in os.walk(folder) for name in names}


@pytest.fixture(params=[0, SMALL, LARGE])
def content(request, seed):
    return random.Random(f"{seed} {request.param}").randbytes(request.param)


@pytest.mark.parametrize("verb", ["cp", "sync"])
def test_an_answer_in_chunks_is_copied_whole(tmp_path, content, verb):
    with sending(lambda number: (CHUNKED, in_chunks(content))) as (address, _):
        answer = frazil(verb, address, f"{tmp_path}/d/", "--json")
        assert answer.code == 0, str(answer)
        assert whole(tmp_path / "d") == {"x.nc": hashlib.sha256(content).hexdigest()}
        assert answer.report["totals"]["n_bytes"] == len(content) and answer.report["totals"]["n_unverified"] == 1, str(answer)
        # Typed again it is there already; another one is not written over without a word.
        answer = frazil(verb, address, f"{tmp_path}/d/", "--json")
        assert answer.code == 0 and answer.report["totals"]["n_same"] == 1, str(answer)
        (tmp_path / "d/x.nc").write_bytes(content[:-1] + b"?" if content else b"?")
        answer = frazil(verb, address, f"{tmp_path}/d/", "--json")
        assert answer.code == (1 if verb == "cp" else 0), str(answer)
        assert (whole(tmp_path / "d") == {"x.nc": hashlib.sha256(content).hexdigest()}) == (verb == "sync")


def test_a_plan_says_that_its_size_is_not_known(tmp_path):
    with sending(lambda number: (CHUNKED, in_chunks(b"x" * SMALL))) as (address, _):
        answer = frazil("cp", address, f"{tmp_path}/d/", "-n", "--json")
        assert answer.code == 0 and answer.report["items"] == [{"name": "x.nc", "outcome": "would-copy", "size_bytes": None}], str(answer)
        assert " 0 B" not in frazil("cp", address, f"{tmp_path}/d/", "-n").text
    assert not (tmp_path / "d").exists()


def test_an_answer_in_chunks_that_always_breaks_off_leaves_nothing(tmp_path, content):
    with sending(lambda number: (CHUNKED, in_chunks(content, end=False))) as (address, _):
        answer = frazil("cp", address, f"{tmp_path}/d/", "--json")
    assert answer.code == 5 and answer.report["error"]["hint"], str(answer)
    assert whole(tmp_path / "d") == {}


def test_one_that_breaks_off_once_is_fetched_again(tmp_path):
    content = random.Random(1).randbytes(LARGE)
    # The first question is only about the file.
    with sending(lambda number: (CHUNKED, in_chunks(content[: LARGE // 2] if number == 1 else content, end=number != 1))) as (address, asked):
        answer = frazil("cp", address, f"{tmp_path}/d/")
    assert answer.code == 0 and len(asked) == 3, str(answer)
    assert whole(tmp_path / "d") == {"x.nc": hashlib.sha256(content).hexdigest()}


def test_what_ends_as_the_connection_closes_must_come_twice_the_same(tmp_path, content):
    with sending(lambda number: (b"", pieces(content))) as (address, asked):
        answer = frazil("cp", address, f"{tmp_path}/d/", "--json")
    assert answer.code == 0 and "transfer.unverified" in str(answer.report["warnings"]), str(answer)
    assert whole(tmp_path / "d") == {"x.nc": hashlib.sha256(content).hexdigest()} and len(asked) == 3


def test_what_closes_at_another_place_each_time_is_no_file(tmp_path):
    content = random.Random(2).randbytes(SMALL)
    with sending(lambda number: (b"", pieces(content[: SMALL - number]))) as (address, _):
        answer = frazil("cp", address, f"{tmp_path}/d/", "--json")
    assert answer.code == 1 and answer.report["error"]["code"] == "store.changed", str(answer)
    assert whole(tmp_path / "d") == {}


def test_whoever_reads_parts_is_told_of_the_download(tmp_path):
    with sending(lambda number: (CHUNKED, in_chunks(b"x" * SMALL))) as (address, _):
        answer = frazil("convert", address, tmp_path / "z", "--to", "zarr", "--json")
    assert answer.code == 1 and "frazil cp" in answer.report["error"]["hint"], str(answer)
