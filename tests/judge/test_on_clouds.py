"""Stores in buckets of Google and containers of Azure: the same bytes as on a disk, and kept apart from other writers."""

import random
import signal
import subprocess
import time

import numpy as np
import pytest

import azurite
import google
from command import frazil, start
from make import days, feedstock, make
from test_clouds import ask_azure
from verdicts import tree

N_KILLS, N_SOAK_KILLS = 5, 50


@pytest.fixture(scope="module", params=["gs", "az"])
def cloud(request, tmp_path_factory):
    """Where stores go, and the variables that lead there."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "gs":
        with google.serving() as double:
            file = double.sign_in.user_file(folder, double.address)
            yield f"gs://{double.bucket()}", {"STORAGE_EMULATOR_HOST": double.address, "GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    else:
        with azurite.running(folder / "azurite") as blobs:
            ask_azure(blobs, "PUT", "/stores", "restype=container")
            yield "az://stores", {"AZURE_STORAGE_CONNECTION_STRING": blobs.connection}


def run(cloud, *words, code=0):
    answer = frazil(*words, env=cloud[1])
    assert answer.crash() is None and answer.code == code, str(answer)
    return answer


def files(store) -> dict[str, str]:
    return {name: digest for name, digest in tree(store).items() if digest != "folder"}


def fetched(cloud, place, folder) -> dict[str, str]:
    """The digests of a store's objects, copied to `folder`."""
    run(cloud, "cp", place, folder)
    return files(folder)


def test_a_store_has_the_bytes_of_one_on_a_disk_and_grows_and_is_replaced(cloud, tmp_path):
    make(tmp_path / "0.nc", days("2001-01-01", 13))
    recipe = feedstock(tmp_path / "f", tmp_path / "*.nc", mode="extend")
    places = [f"{cloud[0]}/a/grown.zarr", tmp_path / "z"]
    for place in places:
        run(cloud, "build", recipe, "--to", place)
    assert "already" in run(cloud, "build", recipe, "--to", places[0]).out
    make(tmp_path / "1.nc", days("2001-01-14", 20))
    for place in places:
        run(cloud, "build", recipe, "--to", place)
    assert fetched(cloud, places[0], tmp_path / "grown") == files(tmp_path / "z")
    run(cloud, "verify", places[0])
    run(cloud, "verify", places[0], "--sources", tmp_path / "*.nc")
    here, there = (run(cloud, "inspect", place, "--digest", "--json").report for place in (places[1], places[0]))
    assert [item["digest"] for item in there["items"]] == [item["digest"] for item in here["items"]]
    run(cloud, "convert", tmp_path / "0.nc", places[0], "--to", "zarr", code=1)
    for place in places:
        run(cloud, "convert", tmp_path / "0.nc", place, "--to", "zarr", "--overwrite")
    assert fetched(cloud, places[0], tmp_path / "replaced") == files(tmp_path / "z")


def test_a_kill_at_any_instant_is_mended_by_the_same_command(cloud, tmp_path, soak, seed):
    make(tmp_path / "0.nc", days("2001-01-01", 40))
    words = ["convert", tmp_path / "0.nc", "STORE", "--to", "zarr", "--chunks", "time=2,lat=2,lon=3"]
    run(cloud, *(tmp_path / "z" if word == "STORE" else word for word in words))
    chance = random.Random(seed)
    seconds = 1.0
    for number in range(N_SOAK_KILLS if soak else N_KILLS):
        place = f"{cloud[0]}/killed/{number}.zarr"
        here = [place if word == "STORE" else word for word in words]
        process = start(here, env=cloud[1], out=subprocess.DEVNULL, err=subprocess.DEVNULL)
        time.sleep(chance.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        process.wait()
        seconds = min(seconds, run(cloud, *here).seconds * 1.1)
        assert fetched(cloud, place, tmp_path / f"k{number}") == files(tmp_path / "z")


def test_a_large_chunk_is_sent_in_parts_and_a_large_shard_grows(cloud, tmp_path):
    noise = np.random.default_rng(1).normal(size=(12, 1000, 1000)).astype("f4")
    grid = {"lat": np.linspace(-90, 90, 1000), "lon": np.arange(1000) * 0.36, "chunksizes": (1, 1000, 1000)}
    cuts = {"chunks": "{time: 3, lat: 1000, lon: 1000}", "write": "shards: {time: 30, lat: 1000, lon: 1000}"}
    recipe = feedstock(tmp_path / "f", tmp_path / "*.nc", mode="extend", **cuts)
    places = [f"{cloud[0]}/large.zarr", tmp_path / "z"]
    for number in range(2):
        make(tmp_path / f"{number}.nc", days(f"2001-01-{1 + 12 * number:02}", 12), stored=noise + number, **grid)
        for place in places:
            run(cloud, "build", recipe, "--to", place)
        assert fetched(cloud, places[0], tmp_path / f"large{number}") == files(tmp_path / "z")


def test_two_writers_are_kept_apart(cloud, tmp_path):
    make(tmp_path / "0.nc", days("2001-01-01", 40))
    place = f"{cloud[0]}/contested.zarr"
    words = ["convert", tmp_path / "0.nc", place, "--to", "zarr", "--chunks", "time=2,lat=2,lon=3"]
    writers = [start(words, env=cloud[1], out=subprocess.DEVNULL, err=subprocess.DEVNULL) for _ in range(3)]
    codes = sorted(writer.wait(timeout=60) for writer in writers)
    assert codes[0] == 0 and set(codes) <= {0, 5}, codes
    run(cloud, "verify", place)
