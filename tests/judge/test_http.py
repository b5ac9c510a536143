"""Sources on a web server: the same values as on the disk, few bytes for the structure, and no fault goes unseen."""

import json
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from command import frazil, start
from make import days, feedstock, make, spoil
from server import serving
from verdicts import assert_equal, convert, is_visible

MAX_TRIES = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    for year in (2000, 2001):
        make(folder / f"sst.{year}.nc", days(f"{year}-01-01", 40), zlib=True, chunksizes=(5, 4, 6))
    return folder


def digests(answer):
    assert answer.code == 0, str(answer)
    return {item["path"]: item["digest"] for item in answer.report["items"]}


def test_a_file_on_the_web_has_the_digests_of_the_file_on_the_disk(folder):
    with serving(folder) as server:
        there = digests(frazil("inspect", f"{server.address}/sst.2000.nc", "--digest", "--json"))
    assert there == digests(frazil("inspect", folder / "sst.2000.nc", "--digest", "--json"))


def test_the_structure_of_a_large_file_costs_little(tmp_path):
    noise = np.random.default_rng(1).normal(size=(60, 360, 720)).astype("f4")
    lat, lon = np.linspace(-89.75, 89.75, 360), np.arange(720) / 2
    path = make(tmp_path / "large.nc", list(range(60)), lat=lat, lon=lon, stored=noise, chunksizes=(1, 90, 90), zlib=True, complevel=1)
    with serving(tmp_path) as server:
        answer = frazil("inspect", f"{server.address}/large.nc", "--json")
        assert answer.code == 0 and "/sst" in {item["path"] for item in answer.report["items"]}, str(answer)
        assert server.sent_bytes <= max(path.stat().st_size * 0.01, 512 << 10), f"{server.sent_bytes} of {path.stat().st_size} bytes"
        # The nodes of the chunk index lie one by one between the chunks; those of a level are asked for together.
        assert sum(server.requests.values()) <= 60


def test_files_on_the_web_are_converted(folder, tmp_path):
    sources = sorted(folder.iterdir())
    with serving(folder) as server:
        answer = convert([f"{server.address}/{path.name}" for path in sources], tmp_path / "z", "--chunks", "time=30")
    assert_equal(answer, sources, tmp_path / "z")


RECIPES = {
    "url": 'url: "{address}/sst.{{year}}.nc", keys: {{year: 2000..2001}}',
    "list": 'list: ["{address}/sst.2000.nc", "{address}/sst.2001.nc"]',
    "index": "index: \"{address}/\", match: 'sst\\.(?P<year>\\d+)\\.nc'",
}


@pytest.mark.parametrize("kind", RECIPES)
def test_a_recipe_finds_its_files_on_the_web(folder, tmp_path, kind):
    recipe = feedstock(tmp_path / "f", "x")
    path = recipe / "feedstock" / "recipe.yaml"
    with serving(folder) as server:
        path.write_text(path.read_text().replace('glob: "x"', RECIPES[kind].format(address=server.address)))
        answer = frazil("build", recipe, "--to", tmp_path / "z", "--json")
        assert_equal(answer, sorted(folder.iterdir()), tmp_path / "z")
        # Nothing to do, and little to ask: the server's tags say that nothing changed.
        before, n_requests = server.sent_bytes, sum(server.requests.values())
        again = frazil("build", recipe, "--to", tmp_path / "z", "--json")
        assert again.code == 0, str(again)
        assert again.report["outcome"] == "already-there"
        assert server.sent_bytes - before <= 20_000, "the second run reads the files again"
        assert sum(server.requests.values()) - n_requests <= 6


def test_a_file_that_changed_on_the_web_is_seen(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "web")
    dest = tmp_path / "z"
    with serving(tmp_path / "web") as server:
        words = [f"{server.address}/sst.2000.nc", f"{server.address}/sst.2001.nc"]
        assert convert(words, dest).code == 0
        path = tmp_path / "web" / "sst.2001.nc"
        spoil(path)
        answer = convert(words, dest)
    assert answer.code == 1 and ("other files" in answer.text or "have changed" in answer.text), str(answer)


def test_files_without_a_tag_are_read_again(folder, tmp_path):
    with serving(folder, "no tags") as server:
        words = [f"{server.address}/sst.2000.nc", f"{server.address}/sst.2001.nc"]
        assert convert(words, tmp_path / "z").code == 0
        before = server.sent_bytes
        answer = convert(words, tmp_path / "z")
        assert answer.code == 0 and answer.report["outcome"] == "already-there", str(answer)
        assert server.sent_bytes > before, "nothing told that the files are the same"


@pytest.mark.parametrize("fault", ["busy", "cut", "short", "no ranges", "other range", "login page", "always busy"])
def test_a_server_with_a_fault_gives_the_right_values_or_a_clear_refusal(folder, tmp_path, fault):
    sources = sorted(folder.iterdir())
    with serving(folder, fault) as server:
        answer = convert([f"{server.address}/{path.name}" for path in sources], tmp_path / "z", timeout=90)
        n_requests = max(server.requests.values())
    assert answer.crash() is None, f"{answer.crash()}\n{answer}"
    if answer.code == 0:
        assert fault not in ("login page", "always busy", "other range"), "that cannot have worked"
        assert_equal(answer, sources, tmp_path / "z")
    else:
        assert fault != "busy", f"a server that is busy twice is asked again\n{answer}"
        assert answer.code in (1, 5) and (".nc" in answer.text), str(answer)
        assert (answer.report or {}).get("error"), str(answer)
        assert not is_visible(tmp_path / "z")
    if fault == "always busy":
        assert answer.code == 5 and n_requests <= MAX_TRIES, f"{n_requests} requests, {answer}"


@pytest.mark.parametrize("fault", ["come back later", "silent"])
def test_an_interrupt_does_not_wait_for_a_server(folder, tmp_path, fault):
    with serving(folder, fault) as server:
        process = start(["convert", f"{server.address}/sst.2000.nc", tmp_path / "z", "--to", "zarr", "--json"], out=subprocess.PIPE, err=subprocess.PIPE)
        time.sleep(1)
        assert process.poll() is None, "it waits for the server"
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        out, _ = process.communicate(timeout=20)
        assert time.monotonic() - asked <= 2
    assert process.returncode == 130 and json.loads(out)["error"]["code"] == "run.interrupted"
    assert "frazil convert" in json.loads(out)["error"]["hint"]


def test_an_absent_file_is_named(folder, tmp_path):
    with serving(folder) as server:
        answer = frazil("inspect", f"{server.address}/absent.nc", "--json")
        assert server.requests["absent.nc"] <= 3, "a file that is not there is not asked for again and again"
    assert answer.code == 1 and "absent.nc" in answer.text and "404" in answer.text, str(answer)


def test_a_password_in_an_address_is_not_repeated(folder):
    with serving(folder) as server:
        answer = frazil("inspect", server.address.replace("//", "//me:topsecret@") + "/sst.2000.nc", "--json")
    assert answer.code == 2 and "topsecret" not in answer.text, str(answer)


def test_a_scan_that_was_killed_goes_on_where_it_was(tmp_path):
    """What was found is kept now and then: of those files a server is asked once whether they are as they were."""
    noise = np.random.default_rng(1).normal(size=(10, 180, 360)).astype("f4")
    lat, lon = np.linspace(-89.5, 89.5, 180), np.arange(360.0)
    path = make(tmp_path / "one.nc", list(range(10)), lat=lat, lon=lon, stored=noise, chunksizes=(1, 90, 90), zlib=True, complevel=1)
    names = [f"day-{i:03}.nc" for i in range(120)]
    for name in names:
        (tmp_path / name).hardlink_to(path)
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    with serving(tmp_path, delay_seconds=0.4) as server:
        words = ["inspect", *(f"{server.address}/{name}" for name in names), "--json"]
        running = start(words, env=environment)
        until = time.monotonic() + 60
        while not list((tmp_path / "cache").rglob("*.index")) and time.monotonic() < until:
            time.sleep(0.1)
        running.kill()
        running.wait()
        first = sum(server.requests.values())
        answer = frazil(*words, env=environment)
        assert answer.code == 0, str(answer)
        second = sum(server.requests.values()) - first
        assert answer.report["asked"]["n_requests"] == second
    with serving(tmp_path) as server:
        whole = frazil("inspect", *(f"{server.address}/{name}" for name in names), "--json", env={"XDG_CACHE_HOME": str(tmp_path / "other")})
        assert whole.code == 0, str(whole)
        assert second < sum(server.requests.values()) - 5, (first, second)
