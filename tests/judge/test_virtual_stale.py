"""Sources that change after they were referenced: each change of content is named by `frazil verify`, and a stock Icechunk
reader raises where its pin can see it; what was only touched is read again and is no alarm."""

import os
import pathlib
import shutil

import h5py
import netCDF4
import numpy as np
import pytest

import clients
from bucket import Bucket
from command import frazil
from make import counter, days
from same import isolated
from server import serving
from verdicts import tree
from virtual import FORMATS, _view, convert, make, place_in, verdict_of

LONG_AGO = 1577836800
GRID = {"zlib": True, "complevel": 4, "chunksizes": (1, 60, 80)}


@pytest.fixture(autouse=True)
def needs_virtual():
    clients.needs_target("virtual")


def three(folder) -> list[pathlib.Path]:
    folder.mkdir(parents=True, exist_ok=True)
    found = [make(folder / f"{name}.nc", days(first, 5), **GRID) for name, first in (("one", "2000-01-01"), ("two", "2000-01-06"), ("three", "2000-01-11"))]
    for path in found:
        os.utime(path, (LONG_AGO, LONG_AGO))
    return found


# What may become of `two.nc`. Each function changes the file in place unless its name says otherwise.

def chunk_of(path, number):
    with h5py.File(path) as file:
        info = file["sst"].id.get_chunk_info(number)
        return info.byte_offset, info.size


def patch(path, at, content):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(content)


def flip(path, at):
    content = path.read_bytes()
    patch(path, at, bytes([content[at] ^ 0x10]))


def flip_chunk(number):
    return lambda path: flip(path, chunk_of(path, number)[0] + chunk_of(path, number)[1] // 2)


def flip_text(word):
    return lambda path: flip(path, path.read_bytes().index(word))


def longer(n_bytes):
    return lambda path: path.write_bytes(path.read_bytes() + b"\0" * n_bytes)


def shorter(keep):
    return lambda path: os.truncate(path, keep(path.stat().st_size))


def swap_chunks(path):
    (one, n_one), (two, n_two) = chunk_of(path, 0), chunk_of(path, 1)
    content = path.read_bytes()
    n = min(n_one, n_two)
    patch(path, one, content[two : two + n])
    patch(path, two, content[one : one + n])


def zeros(path):
    at, n_bytes = chunk_of(path, 2)
    patch(path, at, b"\0" * n_bytes)


def other_values(path):
    with netCDF4.Dataset(path, "r+") as file:
        file["sst"][:] = file["sst"][:][::-1, ::-1]


def other_attribute(path):
    with h5py.File(path, "r+") as file:
        file["sst"].attrs["long_name"] = "made for a jest"


def other_times(path):
    with netCDF4.Dataset(path, "r+") as file:
        file["time"][:] = np.asarray(file["time"][:]) + 0.5


def renamed_over(start):
    def replace(path):
        fresh = make(path.with_name("fresh"), days("2000-01-06", 5), stored=counter((5, 60, 80), start), **GRID)
        fresh.replace(path)

    return replace


def same_size_over(path):
    fresh = path.with_name("fresh")
    fresh.write_bytes(path.read_bytes())
    flip(fresh, chunk_of(fresh, 3)[0] + 2)
    fresh.replace(path)


def linked_to_another(path):
    path.unlink()
    path.symlink_to(path.with_name("one.nc"))


def another_copied(path):
    shutil.copyfile(path.with_name("one.nc"), path)


CHANGES = {
    **{f"a bit of chunk {number}": flip_chunk(number) for number in range(5)},
    "a bit of the title": flip_text(b"a test"), "a bit of the units": flip_text(b"made for a test"), "the first byte": lambda path: flip(path, 0),
    "the last byte": lambda path: flip(path, path.stat().st_size - 1),
    "one byte longer": longer(1), "4096 bytes longer": longer(4096), "one byte shorter": shorter(lambda n: n - 1), "half as long": shorter(lambda n: n // 2),
    "empty": shorter(lambda n: 0), "two chunks swapped": swap_chunks, "a chunk of zeros": zeros, "other values": other_values, "another attribute": other_attribute,
    "other times": other_times, "another file renamed over it": renamed_over(9), "a file of the same size renamed over it": same_size_over,
    "another file copied over it": another_copied,
}
GONE = {"removed": lambda path: path.unlink(), "a folder in its place": lambda path: (path.unlink(), path.mkdir()), "a link to another": linked_to_another}


def rewritten(path):
    path.write_bytes(path.read_bytes())


def copy_over(path):
    fresh = path.with_name("fresh")
    shutil.copyfile(path, fresh)
    fresh.replace(path)


HARMLESS = {
    "touched later": lambda path: os.utime(path), "touched earlier": lambda path: os.utime(path, (1e9, 1e9)), "touched by a nanosecond": lambda path: os.utime(path, ns=(0, LONG_AGO * 10**9 + 1)),
    "the same bytes written again": rewritten, "the same bytes renamed over it": copy_over,
}
# 22 changes, each with its time left and with it set back, three ways to be gone, and what is harmless: 52.
MUTATIONS = [(name, kept) for name in CHANGES for kept in (False, True)] + [(name, False) for name in [*GONE, *HARMLESS]]


def reads(place, form) -> str | None:
    """None if a stock reader reads every value; else what it raised."""
    try:
        isolated(_view, str(place), form, None)
    except AssertionError as error:
        return str(error)
    return None


def verified(dest, *words):
    answer = frazil("verify", dest, "--json", *words)
    assert answer.crash() is None, str(answer)
    return answer


@pytest.fixture(scope="module", params=FORMATS)
def made(request, tmp_path_factory):
    """A virtual dataset of three files, checked before anything happens to them."""
    clients.needs_target("virtual")
    folder = tmp_path_factory.mktemp("stale")
    form, sources = request.param, three(folder / "in")
    dest = place_in(folder, form)
    answer = convert(sources, dest, form)
    assert answer.code == 0, str(answer)
    assert verdict_of(sources, dest, form) == "joined"
    assert verified(dest).code == 0
    kept = folder / "kept"
    shutil.copytree(folder / "in", kept)
    return folder, form, sources, dest


@pytest.fixture
def state(made):
    """The same, whole again after each test."""
    folder, form, sources, dest = made
    yield form, sources, dest
    shutil.rmtree(folder / "in")
    shutil.copytree(folder / "kept", folder / "in")
    for path in sources:
        os.utime(path, (LONG_AGO, LONG_AGO))
    assert verified(dest).code == 0, "a file that is what it was is an alarm"


@pytest.mark.parametrize("name,is_time_kept", MUTATIONS)
def test_a_change_is_named_and_a_touch_is_not(state, name, is_time_kept):
    form, sources, dest = state
    change = {**CHANGES, **GONE, **HARMLESS}[name]
    before = tree(dest) if dest.is_dir() else dest.read_bytes()
    change(sources[1])
    if is_time_kept:
        os.utime(sources[1], (LONG_AGO, LONG_AGO))
    answer = verified(dest)
    if name in HARMLESS:
        assert answer.code == 0, f"{name}: an alarm for a file that did not change\n{answer}"
    else:
        assert answer.code == 1 and "two.nc" in answer.text, f"{name}: unseen\n{answer}"
        assert "one.nc" not in str((answer.report or {}).get("error") or ""), f"{name}: a file that did not change is blamed\n{answer}"
        assert (answer.report or {}).get("error") or not (answer.report or {}).get("ok"), str(answer)
    assert (tree(dest) if dest.is_dir() else dest.read_bytes()) == before, "verify wrote"
    # The pin of a local file is its time: what set it back cannot be seen by a reader.
    if form == "icechunk" and not is_time_kept and name not in HARMLESS and name != "a link to another":
        assert reads(dest, form), f"{name}: a stock reader reads on without a word"


@pytest.mark.parametrize("name", ["touched later", "the same bytes renamed over it"])
def test_values_of_a_file_that_was_touched_are_compared_again(state, name):
    form, sources, dest = state
    HARMLESS[name](sources[1])
    answer = verified(dest, "--sources", *sources)
    assert answer.code == 0, str(answer)


@pytest.mark.parametrize("name", ["a bit of chunk 3", "other values", "other times", "two chunks swapped", "removed"])
def test_values_are_compared_with_the_sources(state, name):
    form, sources, dest = state
    answer = verified(dest, "--sources", *sources)
    assert answer.code == 0 and answer.report["totals"].get("values_compared", 0) >= 15 * 4800, str(answer)
    {**CHANGES, **GONE}[name](sources[1])
    os.utime(sources[1], (LONG_AGO, LONG_AGO)) if name != "removed" else None
    answer = verified(dest, "--sources", *sources)
    assert answer.code == 1 and "two.nc" in answer.text, str(answer)


def test_the_same_files_at_another_place_are_compared_value_by_value(state, tmp_path):
    form, sources, dest = state
    copies = [pathlib.Path(shutil.copy(path, tmp_path)) for path in sources]
    answer = verified(dest, "--sources", *copies)
    assert answer.code in (0, 1), str(answer)
    other_values(copies[1])
    answer = verified(dest, "--sources", *copies)
    assert answer.code == 1, str(answer)


# On the web.

@pytest.mark.parametrize("form", ["kerchunk-json", "kerchunk-parquet"])
def test_files_on_the_web(tmp_path, form):
    sources, dest = three(tmp_path / "web"), place_in(tmp_path, form)
    with serving(tmp_path / "web") as server:
        answer = convert([f"{server.address}/{path.name}" for path in sources], dest, form)
        assert answer.code == 0, str(answer)
        assert verified(dest).code == 0
        os.utime(sources[1])
        assert verified(dest).code == 0, "the tag is the same"
        for name in ("a bit of chunk 2", "one byte longer", "half as long", "another file copied over it", "removed"):
            content = sources[1].read_bytes()
            {**CHANGES, **GONE}[name](sources[1])
            answer = verified(dest)
            assert answer.code == 1 and "two.nc" in answer.text, f"{name}: unseen\n{answer}"
            if form == "icechunk":
                assert reads(dest, form), f"{name}: a stock reader reads on without a word"
            sources[1].write_bytes(content)
            assert verified(dest).code == 0
        # The server sends on: to the same bytes, which is no alarm, and to others.
        shutil.copy(sources[1], tmp_path / "web" / "moved.nc")
        server.moved["two.nc"] = "/moved.nc"
        answer = verified(dest)
        assert answer.code == 0, str(answer)
        server.moved["two.nc"] = "/three.nc"
        answer = verified(dest)
        assert answer.code == 1 and "two.nc" in answer.text, str(answer)


@pytest.mark.parametrize("form", ["kerchunk-json", "kerchunk-parquet"])
def test_files_on_a_server_that_tags_nothing(tmp_path, form):
    """Nothing but the bytes tell. Refused when it is made, or every change is seen by reading."""
    sources, dest = three(tmp_path / "web"), place_in(tmp_path, form)
    with serving(tmp_path / "web", "no tags") as server:
        answer = convert([f"{server.address}/{path.name}" for path in sources], dest, form)
        if answer.code == 1:
            assert ".nc" in answer.text and (answer.report or {}).get("error"), str(answer)
            return
        assert answer.code == 0, str(answer)
        assert verified(dest).code == 0
        flip_chunk(2)(sources[1])
        answer = verified(dest)
        assert answer.code == 1 and "two.nc" in answer.text, str(answer)


# In buckets.

@pytest.mark.parametrize("form", FORMATS)
def test_files_in_a_bucket(gateway, bucket, tmp_path, form):
    held = Bucket(gateway, bucket)
    sources = three(tmp_path / "in")
    held.put_tree(tmp_path / "in", "in")
    dest = place_in(tmp_path, form)
    answer = convert([held.place(f"in/{path.name}") for path in sources], dest, form, env=held.env)
    assert answer.code == 0, str(answer)

    def check():
        answer = frazil("verify", dest, "--json", env=held.env)
        assert answer.crash() is None, str(answer)
        return answer

    assert check().code == 0
    content = sources[1].read_bytes()
    held.put("in/two.nc", content)
    assert check().code == 0, "the same bytes put again"
    for name in ("a bit of chunk 2", "one byte longer", "half as long", "another file copied over it"):
        CHANGES[name](sources[1])
        held.put("in/two.nc", sources[1].read_bytes())
        answer = check()
        assert answer.code == 1 and "two.nc" in answer.text, f"{name}: unseen\n{answer}"
        if form == "icechunk":
            with pytest.raises(AssertionError, match="(?i)chang|modif|etag|precondition|checksum|412|range"):
                isolated(read_with_keys, str(dest), held.env)
        sources[1].write_bytes(content)
        held.put("in/two.nc", content)
        assert check().code == 0
    held.delete("in/two.nc")
    answer = check()
    assert answer.code == 1 and "two.nc" in answer.text, str(answer)


def read_with_keys(place, env):
    """A repository on this disk whose chunks lie in a bucket."""
    import icechunk
    import xarray

    at = icechunk.local_filesystem_storage(place)
    keys = icechunk.s3_static_credentials(access_key_id=env["AWS_ACCESS_KEY_ID"], secret_access_key=env["AWS_SECRET_ACCESS_KEY"])
    containers = icechunk.Repository.fetch_config(at).virtual_chunk_containers
    opened = icechunk.Repository.open(at, authorize_virtual_chunk_access=icechunk.containers_credentials({prefix: keys for prefix in containers}))
    return xarray.open_dataset(opened.readonly_session("main").store, engine="zarr", consolidated=False).load().sizes


def test_larger_files_on_this_machine_may_be_touched_too(tmp_path):
    """A few megabytes are read once when they are referenced; then a touch is told from a rewritten value."""
    values, lat, lon = np.random.default_rng(3).random((10, 200, 300)), np.linspace(-80, 80, 200), np.arange(300.0)
    paths = [make(tmp_path / f"in-{i}.nc", days(f"{2000 + i}-01-01", 10), stored=values + i, lat=lat, lon=lon, chunksizes=(1, 200, 300)) for i in range(3)]
    assert all(path.stat().st_size > 1 << 20 for path in paths)
    dest = place_in(tmp_path, "icechunk")
    assert convert(paths, dest, "icechunk").code == 0
    for path in paths:
        os.utime(path)
    answer = frazil("verify", dest)
    assert answer.code == 0, str(answer)
    flip(paths[1], chunk_of(paths[1], 4)[0] + 1000)
    answer = frazil("verify", dest)
    assert answer.code == 1 and "in-1.nc" in answer.text and "in-0.nc" not in answer.text, str(answer)
