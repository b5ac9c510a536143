"""`frazil verify`: no lost chunk, no flipped bit and no value other than the source's goes unseen; no false alarm."""

import pytest

from command import frazil
from make import counter, days, make
from verdicts import convert, is_visible


@pytest.fixture(params=[3, 2], ids=["v3", "v2"])
def store(request, tmp_path):
    """A store with chunks that hold nothing but fill, which must not be taken for lost ones."""
    stored = counter((20, 4, 6)).astype("f4")
    stored[7:14] = -1.0
    source = make(tmp_path / "in.nc", days("2000-01-01", 20), stored=stored, fill=-1.0, zlib=True, chunksizes=(7, 4, 6))
    answer = convert([source], tmp_path / "z", "--chunks", "time=7,lat=2,lon=3", zarr_format=request.param)
    assert answer.code == 0 and is_visible(tmp_path / "z"), str(answer)
    return tmp_path / "z"


def verify(store, *flags):
    answer = frazil("verify", store, "--json", *flags)
    assert answer.crash() is None, str(answer)
    return answer


def chunks(store):
    named = [path for path in sorted(store.rglob("*")) if path.is_file() and ".frazil" not in path.parts]
    return [path for path in named if not path.name.startswith(".z") and path.name != "zarr.json"]


def test_a_whole_store_is_whole(store):
    assert verify(store).code == 0
    assert verify(store, "--sources").code == 0


def test_each_lost_chunk_is_named(store):
    found = chunks(store)
    assert len(found) >= 8
    for path in found:
        content = path.read_bytes()
        path.unlink()
        answer = verify(store)
        assert answer.code == 1 and str(path.relative_to(store)) in answer.text, f"{path} was lost\n{answer}"
        path.write_bytes(content)
    assert verify(store).code == 0


def test_each_flipped_bit_is_named(store):
    everything = [path for path in sorted(store.rglob("*")) if path.is_file()]
    for number, path in enumerate(everything):
        content = bytearray(path.read_bytes())
        if not content:
            continue
        content[(number * 37) % len(content)] ^= 1 << (number % 8)
        kept = path.read_bytes()
        path.write_bytes(content)
        answer = verify(store)
        assert answer.code != 0, f"a flipped bit in {path.relative_to(store)} goes unseen\n{answer}"
        path.write_bytes(kept)
    assert verify(store).code == 0


def test_a_chunk_longer_or_shorter_is_seen(store):
    path = chunks(store)[-1]
    content = path.read_bytes()
    for other in (content[:-1], content + b"\0", b""):
        path.write_bytes(other)
        assert verify(store).code == 1, f"{len(other)} instead of {len(content)} bytes go unseen"


def test_a_stray_file_is_named(store):
    path = chunks(store)[0]
    stray = path.with_name("999" if "/" in str(path) else "stray")
    stray.write_bytes(path.read_bytes())
    answer = verify(store)
    assert answer.code in (0, 1)
    assert stray.name in answer.text, f"the stray file is not mentioned\n{answer}"


def test_a_source_that_differs_from_the_store_is_named(store, tmp_path):
    stored = counter((20, 4, 6)).astype("f4")
    stored[7:14] = -1.0
    stored[19, 3, 5] += 1
    make(tmp_path / "in.nc", days("2000-01-01", 20), stored=stored, fill=-1.0, zlib=True, chunksizes=(7, 4, 6))
    answer = verify(store, "--sources")
    assert answer.code == 1, str(answer)
    assert "in.nc" in answer.text and "sst" in answer.text or "in.nc" in answer.text and "chang" in answer.text, str(answer)
