"""What lies in a virtual dataset, read by its own library: versions, pins, containers, references, and that the Report's
figures are those that are there."""

import json
import pathlib

import h5py
import numpy as np
import pandas
import pytest

import clients
from make import counter, days
from make import pair as small_pair
from same import compare_file, isolated, open_store
from virtual import FORMATS, Virtual, convert, make, pair, place_in, references_of, report_faults, repository, versions

GRID = {"zlib": True, "complevel": 4, "chunksizes": (1, 60, 80)}
N_CHUNKS = 10


@pytest.fixture(autouse=True)
def needs_virtual():
    clients.needs_target("virtual")


def made(folder, form, *flags, first=GRID, second=GRID):
    folder.mkdir(exist_ok=True)
    sources = pair(folder, first, second)
    dest = place_in(folder, form)
    answer = convert(sources, dest, form, *flags)
    assert answer.code == 0, str(answer)
    assert report_faults(answer) == []
    return answer, sources, dest


def item(answer, name):
    return next(item for item in answer.report["items"] if item.get("path", "").strip("/") == name and "how" in item)


def places_of(path) -> set:
    """Where h5py says that the chunks of `sst` lie."""
    with h5py.File(path) as file:
        data = file["sst"].id
        found = [data.get_chunk_info(i) for i in range(data.get_num_chunks())]
    return {(info.byte_offset, info.size) for info in found}


# Icechunk.

def test_a_repository_is_one_of_the_first_version(tmp_path):
    _, _, dest = made(tmp_path, "icechunk")
    assert (dest / "config.yaml").exists()
    snapshots = list((dest / "snapshots").iterdir())
    # "ICE🧊CHUNK", the writer's name in 24 bytes, then the version of the format.
    for path in [*snapshots, *(dest / "manifests").iterdir()]:
        content = path.read_bytes()
        assert content.startswith("ICE🧊CHUNK".encode()) and content[12 + 24] == 1, f"{path.name}: format {content[12 + 24]}"
    assert isolated(branches, str(dest)) == ["main"]
    assert len(versions(dest)) == 2, "the empty one, and ours"
    assert versions(dest)[0][1].strip(), "a message"


def branches(place):
    return sorted(repository(place).list_branches())


def test_a_repository_declares_no_more_than_where_its_sources_are(tmp_path):
    _, sources, dest = made(tmp_path, "icechunk")
    prefixes = isolated(containers, str(dest))
    assert prefixes and all(str(sources[0].parent).startswith(prefix.removeprefix("file://").rstrip("/")) for prefix in prefixes), prefixes
    assert all(len(prefix.removeprefix("file://").strip("/").split("/")) >= 2 for prefix in prefixes), f"{prefixes} would open this whole disk"


def containers(place):
    return sorted(repository(place).config.virtual_chunk_containers)


def test_each_reference_of_a_repository_leads_to_a_source(tmp_path):
    answer, sources, dest = made(tmp_path, "icechunk")
    found = isolated(locations, str(dest))
    assert {pathlib.Path(place.removeprefix("file://")) for place in found} <= set(sources), found[:3]
    assert answer.report["totals"]["references"] >= N_CHUNKS
    assert item(answer, "sst")["how"] == "referenced"
    kinds = isolated(chunk_kinds, str(dest), "/sst")
    assert kinds == {"VIRTUAL": N_CHUNKS}, kinds


def locations(place):
    return repository(place).readonly_session("main").all_virtual_chunk_locations()


def chunk_kinds(place, path):
    """How many chunks of an array are of which kind, as icechunk-python says."""
    import asyncio
    import collections

    session = repository(place).readonly_session("main")

    async def walk():
        return [tuple(at) async for at in session.chunk_coordinates(path)]

    counts = collections.Counter()
    for at in asyncio.run(walk()):
        counts[str(session.chunk_type(path, at)).rsplit(".", 1)[-1].upper()] += 1
    return dict(counts)


def test_native_chunks_are_those_that_the_report_counts(tmp_path):
    answer, _, dest = made(tmp_path, "icechunk", second={**GRID, "shuffle": False})
    found, totals = item(answer, "sst"), answer.report["totals"]
    assert found["how"] == "hybrid" and found["native_share"] == 0.5 and found["why"], found
    kinds = isolated(chunk_kinds, str(dest), "/sst")
    assert kinds.get("VIRTUAL") == 5 and sum(kinds.values()) == N_CHUNKS, kinds
    assert totals["native_chunks"] >= kinds.get("NATIVE", 0), totals
    n_bytes = sum(path.stat().st_size for path in (dest / "chunks").iterdir()) if (dest / "chunks").exists() else 0
    assert totals["native_bytes"] >= n_bytes, f"{n_bytes} bytes lie there, and the Report says {totals}"


# kerchunk.

@pytest.mark.parametrize("form", FORMATS[1:])
def test_references_are_where_the_chunks_are(tmp_path, form):
    answer, sources, dest = made(tmp_path, form)
    found = {}
    if form == "kerchunk-json":
        refs = references_of(dest)
        for key, value in refs.items():
            if key.startswith("sst/") and not key.split("/")[1].startswith("."):
                found[key.split("/")[1]] = value
    else:
        table = pandas.concat([pandas.read_parquet(path, engine="fastparquet") for path in sorted((dest / "sst").glob("refs.*.parq"), key=lambda path: int(path.name.split(".")[1]))])
        for number, (path, offset, size) in enumerate(zip(table["path"], table["offset"], table["size"])):
            if path is not None and not pandas.isna(path):
                found[f"{number}.0.0"] = [path, offset, size]
    assert len(found) == N_CHUNKS, sorted(found)
    for number, source in enumerate(sources):
        mine = [found[f"{5 * number + day}.0.0"] for day in range(5)]
        assert {pathlib.Path(str(value[0]).removeprefix("file://")) for value in mine} == {source}
        assert {(int(value[1]), int(value[2])) for value in mine} == places_of(source)
    assert answer.report["totals"]["references"] >= N_CHUNKS


@pytest.mark.parametrize("form", FORMATS[1:])
def test_metadata_of_references_is_of_zarr_2(tmp_path, form):
    _, _, dest = made(tmp_path, form)
    metadata = references_of(dest)
    array = metadata["sst/.zarray"]
    array = json.loads(array) if isinstance(array, str) else array
    assert array["zarr_format"] == 2 and array["chunks"] == [1, 60, 80] and array["shape"] == [10, 60, 80]
    assert {filter["id"] for filter in array["filters"] or []} | {array["compressor"]["id"] if array["compressor"] else None} == {"shuffle", "zlib"}, array
    assert array["fill_value"] is None, "xarray masks what equals the fill value of an array of Zarr 2"
    if form == "kerchunk-parquet":
        assert json.loads((dest / ".zmetadata").read_text())["record_size"] > 0


def test_many_records_of_parquet(tmp_path):
    """More chunks than one file of records holds."""
    n, lat, lon = 100, np.arange(20.0), np.arange(30.0)
    source = make(tmp_path / "in.nc", list(range(n)), lat=lat, lon=lon, chunksizes=(1, 2, 2), zlib=True)
    dest = place_in(tmp_path, "kerchunk-parquet")
    answer = convert([source], dest, "kerchunk-parquet")
    assert answer.code == 0, str(answer)
    size = json.loads((dest / ".zmetadata").read_text())["record_size"]
    n_chunks = n * 10 * 15
    files = sorted(path.name for path in (dest / "sst").iterdir())
    assert len(files) == -(-n_chunks // size), (size, files)
    verdict = isolated(compare_file, str(source), Virtual(str(dest), "kerchunk-parquet"))
    assert verdict.differences == [], str(verdict)


# Inline.

@pytest.mark.parametrize("form", FORMATS)
def test_small_coordinates_are_inline(tmp_path, form):
    answer, _, _ = made(tmp_path, form, "--inline", "1KB")
    for name in ("time", "lat", "lon"):
        assert item(answer, name)["how"] in ("inline", "native"), item(answer, name)
    assert answer.report["totals"]["inline_bytes"] > 0 or answer.report["totals"]["native_bytes"] > 0


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_larger_than_the_size_is_referenced_however_small_it_is(tmp_path, form):
    sources = small_pair(tmp_path, {"zlib": True, "chunksizes": (1, 4, 6)}, {"zlib": True, "chunksizes": (1, 4, 6)})
    answer = convert(sources, place_in(tmp_path, form), form, "--inline", "1B")
    assert answer.code == 0 and item(answer, "sst")["how"] == "referenced", str(answer)


def test_a_size_that_is_none_is_named(tmp_path):
    sources = pair(tmp_path, GRID, GRID)
    answer = convert(sources, place_in(tmp_path, "icechunk"), "icechunk", "--inline", "much")
    assert answer.code == 2 and "much" in answer.text, str(answer)
    answer = convert(sources, tmp_path / "x", "kerchunk-xml")
    assert answer.code == 2 and "kerchunk-xml" in answer.text and "icechunk" in answer.text, str(answer)


def test_words_of_zarr_are_refused_for_what_is_virtual(tmp_path):
    """Chunks and codecs are those of the sources: who asks for others must hear that."""
    sources = pair(tmp_path, GRID, GRID)
    for words in (["--chunks", "time=2"], ["--codec", "zstd:3"], ["--shards", "time=4,lat=4,lon=6"]):
        answer = convert(sources, place_in(tmp_path, "icechunk"), "icechunk", *words)
        assert answer.crash() is None and answer.code in (1, 2) and words[0].strip("-") in answer.text, str(answer)


@pytest.mark.parametrize("form", FORMATS)
def test_sources_that_are_not_there_or_no_data_are_named(tmp_path, form):
    (tmp_path / "text.nc").write_text("no data")
    (tmp_path / "empty.nc").write_bytes(b"")
    good = make(tmp_path / "good.nc", days("2000-01-01", 5), **GRID)
    content = good.read_bytes()
    (tmp_path / "cut.nc").write_bytes(content[: len(content) * 2 // 3])
    for name in ("absent.nc", "text.nc", "empty.nc", "cut.nc"):
        answer = convert([good, tmp_path / name], place_in(tmp_path, form), form)
        assert answer.crash() is None and answer.code == 1 and name in answer.text, str(answer)
        assert not place_in(tmp_path, form).exists()


def test_values_beyond_four_gigabytes_are_referenced_right(tmp_path):
    """A sparse file: the chunks lie behind 5 GB of nothing."""
    path = tmp_path / "far.nc"
    with h5py.File(path, "w", libver=("earliest", "v108"), userblock_size=0) as file:
        file.create_dataset("hole", (5 << 30,), "u1", chunks=None).id  # allocated late: its place is taken by the write below
        file["hole"][-1] = 1
        for name, values in (("time", np.arange(4.0)), ("lat", np.arange(3.0)), ("lon", np.arange(2.0))):
            axis = file.create_dataset(name, data=values)
            axis.make_scale(name)
        file["time"].attrs["units"] = np.bytes_("days since 2000-01-01")
        data = file.create_dataset("sst", (4, 3, 2), "f4", chunks=(1, 3, 2), compression="gzip")
        data[:] = counter((4, 3, 2)) + 1
        for number, name in enumerate(("time", "lat", "lon")):
            data.dims[number].attach_scale(file[name])
    with h5py.File(path) as file:
        if file["sst"].id.get_chunk_info(0).byte_offset < 1 << 32:
            pytest.skip("the library put the chunks elsewhere")
    for form in FORMATS:
        dest = place_in(tmp_path, form)
        answer = convert([path], dest, form, "--vars", "sst")
        assert answer.code == 0, str(answer)
        assert isolated(far_values, str(dest), form) == (counter((4, 3, 2)) + 1).ravel().tolist()


def far_values(place, form):
    return open_store(Virtual(place, form))["sst"].values.ravel().tolist()
