"""Virtual datasets as their readers meet them: the snippet that was printed, in a fresh Python; sources on a disk, on the
web and in a bucket; and how much of a source is asked for to reference it."""

import contextlib
import json
import os
import shutil
import statistics
import sys
import urllib.parse

import netCDF4
import numpy as np
import pytest

import clients
from bucket import Bucket
from command import frazil
from make import days
from server import serving
from virtual import FORMATS, convert, expected_shown, is_there, make, place_in, shown_by, snippet_of

GRID = {"zlib": True, "chunksizes": (1, 60, 80), "file_attributes": {"history": "made"}}
MAX_REQUESTS, MAX_BYTES, MAX_SHARE = 3, 256 << 10, 0.01
DELAY_SECONDS = 0.02


@pytest.fixture(autouse=True)
def needs_virtual():
    clients.needs_target("virtual")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    return [make(folder / f"in-{i}.nc", days(f"{2000 + i}-01-01", 5), constant=1, **GRID) for i in range(3)]


def printed(words, dest, form, env=None, cwd=None):
    """The run as a person types it, and the snippet that it ends with."""
    answer = frazil("convert", *words, dest, "--to", "virtual", "--format", form, env=env, cwd=cwd)
    assert answer.code == 0, str(answer)
    return snippet_of(answer)


def without_keys(**more):
    return {**{name: value for name, value in os.environ.items() if not name.startswith("AWS_")}, **more}


def folder_of_clients_has(form):
    python = clients.client("python")
    needed = {"icechunk": "icechunk"}.get(form, "kerchunk")
    clients.asked(f"import xarray, zarr, s3fs, {needed}; print(1)")
    return python


@pytest.mark.parametrize("form", FORMATS)
def test_the_snippet_opens_files_on_this_disk(sources, tmp_path, form):
    snippet = printed(sources, place_in(tmp_path, form), form)
    assert shown_by(sys.executable, snippet, without_keys(), tmp_path) == expected_shown(sources)


@pytest.mark.parametrize("form", FORMATS)
def test_the_snippet_opens_from_another_folder_what_was_named_relatively(sources, tmp_path, form):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "in").symlink_to(sources[0].parent)
    words = [f"in/{path.name}" for path in sources]
    name = place_in("", form).name
    snippet = printed(words, name, form, cwd=tmp_path / "here")
    assert shown_by(sys.executable, snippet, without_keys(), tmp_path / "here") == expected_shown(sources)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["a b", "ü", "50%", "a+b", "a#b", "it's", 'say "hi"', "{{x}}", "a&b=c;d"])
def test_the_snippet_opens_odd_names(sources, tmp_path, form, name):
    folder = tmp_path / name
    folder.mkdir()
    copies = [make(folder / f"in {i} {name}.nc", days(f"{2000 + i}-01-01", 5), **GRID) for i in range(2)]
    if (form, name) == ("kerchunk-parquet", "{{x}}"):
        answer = convert(copies, place_in(folder, form), form)
        assert answer.code == 1 and "template" in answer.report["error"]["message"], str(answer)
        return
    snippet = printed(copies, place_in(folder, form), form)
    assert shown_by(sys.executable, snippet, without_keys(), tmp_path) == expected_shown(copies)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("folder", ["", "data/", "a%20b/"])
@pytest.mark.parametrize("form", FORMATS)
def test_the_snippet_opens_files_on_the_web(sources, tmp_path, form, folder):
    """At the top of a server with a port of its own, in a folder there, and in one whose name is no bucket's."""
    place = tmp_path / "web" / urllib.parse.unquote(folder)
    shutil.copytree(sources[0].parent, place)
    with serving(tmp_path / "web") as server:
        snippet = printed([f"{server.address}/{folder}{path.name}" for path in sources], place_in(tmp_path, form), form)
        assert shown_by(sys.executable, snippet, without_keys(), tmp_path) == expected_shown(sources)
        assert sum(server.requests.values()) > 2 * len(sources)


def test_the_snippet_opens_files_at_the_usual_port(sources, tmp_path):
    """Icechunk's readers have another way there."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(serving(sources[0].parent, port=80))
        except OSError as error:
            pytest.skip(f"port 80 of this machine cannot be had: {error.strerror}")
        snippet = printed([f"{server.address}/{path.name}" for path in sources], place_in(tmp_path, "icechunk"), "icechunk")
        assert shown_by(sys.executable, snippet, without_keys(), tmp_path) == expected_shown(sources)


def test_two_servers_with_ports_are_told_apart_or_refused_for_icechunk(sources, tmp_path):
    (tmp_path / "other").mkdir()
    shutil.copy(sources[1], tmp_path / "other" / sources[1].name)
    with serving(sources[0].parent) as one, serving(tmp_path) as two:
        # Both at their tops: one address would stand for both.
        answer = convert([f"{one.address}/{sources[0].name}", f"{two.address}/other/{sources[1].name}"], place_in(tmp_path, "icechunk"), "icechunk")
        assert answer.code == 0, str(answer)
        (tmp_path / "again").mkdir()
        shutil.copy(sources[1], tmp_path / sources[1].name)
        answer = convert([f"{one.address}/{sources[0].name}", f"{two.address}/{sources[1].name}"], tmp_path / "again" / "x.icechunk", "icechunk")
        assert answer.code == 1 and "another server" in answer.report["error"]["message"], str(answer)


def test_a_repository_of_files_at_a_port_is_read_and_verified(sources, tmp_path):
    dest = place_in(tmp_path, "icechunk")
    with serving(sources[0].parent) as server:
        assert convert([f"{server.address}/{path.name}" for path in sources], dest, "icechunk").code == 0
        for words in (("verify", dest), ("verify", dest, "--sources"), ("convert", dest, tmp_path / "copy.zarr", "--to", "zarr", "--follow", f"{server.address}/")):
            answer = frazil(*words)
            assert answer.code == 0, str(answer)
        answer = frazil("verify", tmp_path / "copy.zarr", "--sources", "--follow", f"{server.address}/")
        assert answer.code == 0, str(answer)


@pytest.mark.parametrize("where", ["disk", "bucket"])
@pytest.mark.parametrize("form", FORMATS)
def test_the_snippet_opens_files_in_a_bucket(gateway, bucket, sources, tmp_path, form, where):
    python = folder_of_clients_has(form)
    held = Bucket(gateway, bucket)
    held.put_tree(sources[0].parent, "in")
    dest = place_in(tmp_path, form) if where == "disk" else held.place(place_in("out", form))
    snippet = printed([held.place(f"in/{path.name}") for path in sources], dest, form, env=held.env)
    assert "CANARY" not in snippet
    assert shown_by(python, snippet, without_keys(AWS_REGION="us-east-1", **held.env), tmp_path) == expected_shown(sources)


@pytest.mark.parametrize("form", FORMATS)
def test_no_secret_is_written_into_a_virtual_dataset(gateway, bucket, sources, tmp_path, form):
    held = Bucket(gateway, bucket)
    held.put_tree(sources[0].parent, "in")
    dest = place_in(tmp_path, form)
    answer = convert([held.place(f"in/{path.name}") for path in sources], dest, form, env=held.env)
    assert answer.code == 0 and "CANARY" not in answer.text, str(answer)
    files = [dest] if dest.is_file() else [path for path in dest.rglob("*") if path.is_file()]
    for path in files:
        assert b"CANARY" not in path.read_bytes() and held.env["AWS_ACCESS_KEY_ID"].encode() not in path.read_bytes(), path


# What a source is asked for.

def as_the_library_writes(path, number):
    """Four fields, 40 chunks each, and coordinates: 4 to 5 MB, written in the order in which models write."""
    lat, lon = np.linspace(-89, 89, 90), np.arange(180) * 2.0
    noise = np.random.default_rng(number)
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", None), ("lat", 90), ("lon", 180), ("bnds", 2)):
            file.createDimension(name, size)
        time = file.createVariable("time", "f8", ("time",))
        time.setncatts({"units": "days since 2000-01-01", "calendar": "standard", "bounds": "time_bnds"})
        for name, values in (("lat", lat), ("lon", lon)):
            file.createVariable(name, "f8", (name,))[:] = values
        bounds = file.createVariable("time_bnds", "f8", ("time", "bnds"))
        fields = [file.createVariable(name, "f4", ("time", "lat", "lon"), zlib=True, complevel=1, chunksizes=(1, 45, 90)) for name in ("tas", "pr", "hurs", "ps")]
        for field in fields:
            field.setncatts({"units": "1", "long_name": field.name, "cell_methods": "time: mean"})
        for day in range(10):
            time[day] = 10 * number + day
            bounds[day] = 10 * number + day, 10 * number + day + 1
            for field in fields:
                field[day] = noise.normal(size=(90, 180))
        file.setncatts({"Conventions": "CF-1.8", "history": "made"})
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    return [as_the_library_writes(folder / f"f-{number:02}.nc", number) for number in range(12)]


@pytest.mark.parametrize("form", ["kerchunk-json", "kerchunk-parquet"])
def test_a_file_is_asked_for_a_few_times(archive, tmp_path, form):
    with serving(archive[0].parent, delay_seconds=DELAY_SECONDS) as server:
        answer = convert([f"{server.address}/{path.name}" for path in archive], place_in(tmp_path, form), form)
        assert answer.code == 0, str(answer)
        requests = [server.requests[path.name] for path in archive]
        sent = {path: server.sent[path.name] for path in archive}
    assert statistics.median(requests) <= MAX_REQUESTS, f"requests a file: {sorted(requests)}"
    for path, n_bytes in sent.items():
        assert n_bytes <= max(MAX_BYTES, path.stat().st_size * MAX_SHARE), f"{n_bytes} of {path.stat().st_size} bytes"


def test_an_unchanged_file_is_asked_for_once_in_a_later_run(archive, tmp_path):
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    with serving(archive[0].parent, delay_seconds=DELAY_SECONDS) as server:
        files = [f"{server.address}/{path.name}" for path in archive]
        first, again = (place_in(tmp_path / name, "kerchunk-json") for name in ("first", "again"))
        for dest in (first, again):
            dest.parent.mkdir()
            server.requests.clear()
            assert convert(files, dest, "kerchunk-json", env=cache).code == 0
        # And the server once for a part: it may have forgotten how since.
        assert sum(server.requests.values()) <= len(files) + 1, server.requests
        assert json.loads(first.read_text())["refs"] == json.loads(again.read_text())["refs"]


def with_coordinates(path, number):
    """As above, with coordinates on the grid and texts: structure and small values lie between each other."""
    as_the_library_writes(path, number)
    with netCDF4.Dataset(path, "a") as file:
        file.createDimension("station", 30)
        for name in ("latitude", "longitude"):
            file.createVariable(name, "f4", ("lat", "lon"))[:] = np.arange(90 * 180, dtype="f4").reshape(90, 180)
        file.createVariable("name", str, ("station",))[:] = np.array([f"station {i}" for i in range(30)], dtype=object)
        file.createVariable("crs", "i4", ()).setncatts({"grid_mapping_name": "latitude_longitude"})
    return path


def test_coordinates_are_read_along_and_only_once(tmp_path):
    (tmp_path / "in").mkdir()
    files = [with_coordinates(tmp_path / "in" / f"f-{number}.nc", number) for number in range(3)]
    with serving(tmp_path / "in", delay_seconds=DELAY_SECONDS) as server:
        dest = place_in(tmp_path, "kerchunk-json")
        answer = convert([f"{server.address}/{path.name}" for path in files], dest, "kerchunk-json")
        assert answer.code == 0, str(answer)
        assert statistics.median(server.requests.values()) <= MAX_REQUESTS, server.requests
        assert max(server.sent.values()) <= MAX_BYTES, server.sent


def test_a_large_file_is_read_by_its_structure(tmp_path):
    """64 MB in 4,096 chunks: the index of chunks lies between them."""
    noise = np.random.default_rng(1).normal(size=(256, 256, 256)).astype("f4")
    path = make(tmp_path / "large.nc", list(range(256)), lat=np.arange(256) / 3, lon=np.arange(256) / 2, stored=noise, chunksizes=(1, 64, 64))
    with serving(tmp_path, delay_seconds=DELAY_SECONDS) as server:
        answer = convert([f"{server.address}/large.nc"], place_in(tmp_path / "out", "kerchunk-json"), "kerchunk-json")
        assert answer.code == 0 and answer.report["totals"]["references"] >= 4096, str(answer)
        assert server.sent["large.nc"] <= max(MAX_BYTES, path.stat().st_size * MAX_SHARE), f"{server.sent['large.nc']} of {path.stat().st_size} bytes"


@pytest.mark.parametrize("was_known", [False, True], ids=["never seen", "scanned when it gave ranges"])
@pytest.mark.parametrize("form", ["kerchunk-json", "kerchunk-parquet"])
def test_a_server_without_ranges_is_refused_and_says_what_to_do(sources, tmp_path, form, was_known):
    (tmp_path / "before").mkdir()
    dest = place_in(tmp_path, form)
    with serving(sources[0].parent) as server:
        words = [f"{server.address}/{path.name}" for path in sources]
        if was_known:
            assert convert(words, place_in(tmp_path / "before", form), form).code == 0
        server.fault = "no ranges"
        answer = convert(words, dest, form)
    error = (answer.report or {}).get("error") or {}
    assert answer.code == 1 and not is_there(dest), str(answer)
    assert "range" in str(error).lower() and "cop" in str(error.get("hint") or "").lower(), str(answer)


@pytest.mark.parametrize("fault", ["busy", "cut", "short", "other range", "login page", "always busy"])
def test_a_server_with_a_fault_gives_right_references_or_none(sources, tmp_path, fault):
    dest = place_in(tmp_path, "kerchunk-json")
    with serving(sources[0].parent, fault) as server:
        answer = convert([f"{server.address}/{path.name}" for path in sources], dest, "kerchunk-json", timeout=120)
        assert answer.crash() is None, str(answer)
        server.fault = ""
        if answer.code == 0:
            clean = place_in(tmp_path / "clean", "kerchunk-json")
            clean.parent.mkdir()
            assert convert([f"{server.address}/{path.name}" for path in sources], clean, "kerchunk-json").code == 0
            assert json.loads(dest.read_text())["refs"] == json.loads(clean.read_text())["refs"]
        else:
            assert answer.code in (1, 5) and ".nc" in answer.text and not is_there(dest), str(answer)
