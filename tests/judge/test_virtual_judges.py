"""The judges of virtual datasets themselves: what kerchunk and VirtualiZarr get right must pass, and what they are known to
get wrong must fail."""

import json
import os
import pathlib
import shutil
import sys

import h5py
import pytest

import virtual
from make import counter
from test_virtual_stale import reads
from virtual import FORMATS, assert_refused, assert_right, convert, make, pair, place_in, verdict_of

SHAPE = (5, 60, 80)
SAME = {"zlib": True, "chunksizes": (1, 60, 80), "file_attributes": {"history": "made"}}


@pytest.fixture(params=FORMATS)
def form(request):
    return request.param


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setenv("FRAZIL", f"{sys.executable} {pathlib.Path(__file__).with_name('stand_in_virtual.py')}")


def made(folder, form, first, second):
    sources = pair(folder, {**SAME, **first}, {**SAME, **second})
    dest = place_in(folder, form)
    answer = convert(sources, dest, form)
    assert answer.code == 0, str(answer)
    return answer, sources, dest


def test_what_is_right_passes(tmp_path, form):
    answer, sources, dest = made(tmp_path, form, {}, {})
    assert verdict_of(sources, dest, form) == "joined"
    assert assert_right(answer, sources, dest, form, "one.nc", None, "x") == "joined"
    assert virtual.report_faults(answer), "its Report says nothing of references"


WRONG = {
    "packing": ({"dtype": "i2", "stored": counter(SHAPE), "packing": {"scale_factor": 0.01}, "fill": -1}, {"dtype": "i2", "stored": counter(SHAPE), "packing": {"scale_factor": 0.1}, "fill": -1}),
    "K and degC": ({}, {"attributes": {"units": "degC"}}),
}
WRONG_IN_KERCHUNK = {
    "shuffle": ({}, {"shuffle": False}),
    "epoch": ({"units": "days since 2000-01-01", "time_dtype": "i4"}, {"units": "days since 2000-01-06", "time_dtype": "i4"}),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_joined_wrongly_fails(tmp_path, what, form):
    answer, sources, dest = made(tmp_path, form, *WRONG[what])
    assert verdict_of(sources, dest, form).startswith("joined wrongly")
    with pytest.raises(AssertionError, match="joined wrongly"):
        assert_right(answer, sources, dest, form, "one.nc", None, ".")


@pytest.mark.parametrize("what", WRONG_IN_KERCHUNK)
def test_what_kerchunk_joins_wrongly_fails(tmp_path, what):
    _, sources, dest = made(tmp_path, "kerchunk-json", *WRONG_IN_KERCHUNK[what])
    assert verdict_of(sources, dest, "kerchunk-json").startswith("joined wrongly")


def test_a_wrong_split_fails(tmp_path):
    """Two files in two groups: right; then the same with the values of one group in both; then without the second."""
    sources = pair(tmp_path, SAME, SAME)

    def put(refs):
        metadata = {key: json.loads(value) for key, value in refs.items() if key.rsplit("/", 1)[-1].startswith(".z")}
        consolidated = json.dumps({"zarr_consolidated_format": 1, "metadata": metadata})
        dest.write_text(json.dumps({"version": 1, "refs": {**refs, ".zmetadata": consolidated}}))

    dest, refs = tmp_path / "both.json", {".zgroup": '{"zarr_format": 2}'}
    for name, path in (("a", sources[0]), ("b", sources[1])):
        assert convert([path], tmp_path / f"{name}.json", "kerchunk-json").code == 0
        content = json.loads((tmp_path / f"{name}.json").read_text())["refs"]
        refs |= {f"{name}/{key}": value for key, value in content.items()}
    put(refs)
    assert verdict_of(sources, dest, "kerchunk-json") == "split"
    swapped = {key: refs.get(key.replace("b/sst/", "a/sst/")) if key.startswith("b/sst/") else value for key, value in refs.items()}
    put(swapped)
    assert verdict_of(sources, dest, "kerchunk-json").startswith("split wrongly")
    halved = {key: value for key, value in refs.items() if not key.startswith("b/")}
    put(halved)
    assert verdict_of(sources, dest, "kerchunk-json").startswith("split wrongly")


def test_a_refusal_without_a_name_fails(tmp_path):
    sources = pair(tmp_path, SAME, {**SAME, "complevel": 9})
    dest = place_in(tmp_path, "icechunk")
    answer = convert(sources, dest, "icechunk")
    assert answer.code == 1, "VirtualiZarr refuses another level of zlib"
    with pytest.raises(AssertionError, match="opened|name"):
        assert_refused(answer, dest, "two.nc", "sst", "zlib|codec")


def test_a_reader_that_goes_on_after_a_change_is_seen(tmp_path):
    """kerchunk pins nothing."""
    _, sources, dest = made(tmp_path, "kerchunk-json", {}, {})
    assert reads(dest, "kerchunk-json") is None
    shutil.copyfile(sources[0], sources[1])
    said = reads(dest, "kerchunk-json")
    assert said is None or "decompress" in said, "the bytes of another file are read without a word, or are no chunk there"


def test_a_reader_that_raises_is_seen(tmp_path):
    """VirtualiZarr pins when it was made."""
    _, sources, dest = made(tmp_path, "icechunk", {}, {})
    assert reads(dest, "icechunk") is None
    future = sources[1].stat().st_mtime + 3600
    os.utime(sources[1], (future, future))
    assert reads(dest, "icechunk") is not None


def test_every_mutation_mutates(tmp_path):
    """What is called a change changes bytes; what is called harmless does not."""
    from test_virtual_stale import CHANGES, GONE, HARMLESS, MUTATIONS, three

    assert len(MUTATIONS) >= 50
    for number, (name, change) in enumerate({**CHANGES, **HARMLESS}.items()):
        source = three(tmp_path / str(number))[1]
        before = source.read_bytes()
        change(source)
        assert (source.read_bytes() == before) == (name in HARMLESS), name
    assert GONE


def test_a_mask_of_filters_is_what_it_says(tmp_path):
    from test_virtual_torture import hdf5

    path = hdf5(tmp_path / "one.nc", 0, counter(SHAPE).astype("f4"), shuffle=True, compression="gzip", skip=(1,))
    with h5py.File(path) as file:
        assert file["sst"].id.get_num_chunks() == 4
        assert (file["sst"][1] == 0).all()
    assert make(tmp_path / "x.nc", [0, 1], **SAME).exists()
