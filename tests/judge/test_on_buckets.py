"""Stores in buckets, on a real Ceph: the same bytes as on a disk, old or none or new after any kill, and nothing else.

A failure names the instant; the seed repeats it.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import numpy as np
import pytest

import ceph
import clients
from bucket import Bucket
from command import ROOT, frazil, start
from kill import Scene, scene, view
from make import days, feedstock, make
from verdicts import tree, tree_differences

SOURCES = sorted((ROOT / "examples/sea-surface/data").glob("*.nc"))
N_KILLS, N_SOAK_KILLS = 6, 100


@pytest.fixture(scope="module")
def bucket(gateway):
    found = Bucket(gateway, ceph.fresh_bucket(gateway))
    yield found
    ceph.discard(gateway, found.name)


def run(bucket, *words, code=0, **options):
    answer = frazil(*words, env=bucket.env, **options)
    assert answer.crash() is None and answer.code == code, str(answer)
    assert ceph.SECRET not in answer.text, "a secret shows"
    return answer


def files(store) -> dict[str, str]:
    """The digests of the files below a folder: buckets have no folders."""
    return {name: digest for name, digest in tree(store).items() if digest != "folder"}


def data(folder, n_files=3):
    for number in range(n_files):
        make(folder / f"{number}.nc", days(f"2001-01-{1 + 10 * number:02}", 10))
    return sorted(folder.glob("*.nc"))


KINDS = {
    "v3": [],
    "v2": ["--zarr-format", "2"],
    "many chunks": ["--chunks", "time=2,lat=2,lon=3"],
    "shards": ["--chunks", "time=2,lat=2,lon=3", "--shards", "time=10,lat=4,lon=6"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_in_a_bucket_has_the_bytes_of_one_on_a_disk(bucket, tmp_path, kind):
    sources, key = data(tmp_path), f"same/{kind.replace(' ', '-')}.zarr"
    words = ["convert", *sources, "STORE", "--to", "zarr", *KINDS[kind]]
    for place in (bucket.place(key), tmp_path / "z"):
        run(bucket, *(place if word == "STORE" else word for word in words))
    assert bucket.tree(key) == files(tmp_path / "z")
    run(bucket, "verify", bucket.place(key))
    run(bucket, "verify", bucket.place(key), "--sources", *sources)


def test_groups_and_texts_have_the_bytes_of_those_on_a_disk(bucket, tmp_path):
    import netCDF4

    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for group in (file, file.createGroup("ocean"), file.createGroup("ocean/deep")):
            group.createDimension("x", 4)
            group.createVariable("v", "f4", ("x",))[:] = np.arange(4)
            group.createVariable("name", str, ("x",))[:] = np.array(["a", "bc", "", "d"], dtype=object)
    for place in (bucket.place("groups.zarr"), tmp_path / "z"):
        run(bucket, "convert", tmp_path / "a.nc", place, "--to", "zarr")
    assert bucket.tree("groups.zarr") == files(tmp_path / "z")


def test_what_is_printed_opens_the_store(bucket, tmp_path):
    # Its own Python has s3fs, but not xarray.
    packages = next(pathlib.Path(clients.client("python")).parent.parent.glob("lib/python*/site-packages"))
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(f"[ceph]\naws_access_key_id = {ceph.KEY}\naws_secret_access_key = {ceph.SECRET}\n")
    (tmp_path / ".aws/config").write_text(f"[profile ceph]\nendpoint_url = {bucket.env['AWS_ENDPOINT_URL']}\n")
    for number, env in enumerate([bucket.env, {"HOME": str(tmp_path), "AWS_PROFILE": "ceph"}]):
        words = ["convert", *SOURCES, bucket.place(f"printed-{number}.zarr"), "--to", "zarr"]
        answer = frazil(*words, env=env)
        assert answer.code == 0 and ceph.SECRET not in answer.text, str(answer)
        lines = answer.out.split("open it:\n")[1]
        code = "\n".join(line.strip() for line in lines.splitlines()) + "\nprint(ds.load().sizes['time'])"
        # The line that names a profile needs no variable.
        env = {name: value for name, value in env.items() if name != "AWS_PROFILE"}
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **env, "PYTHONPATH": str(packages)}, capture_output=True, text=True)
        assert done.stdout.strip() == "181", done.stderr[-2000:]


def test_typed_again_it_writes_nothing(bucket, tmp_path):
    words = ["convert", *data(tmp_path), bucket.place("again.zarr"), "--to", "zarr"]
    run(bucket, *words)
    stamps = bucket.stamps("again.zarr")
    assert "already" in run(bucket, *words).out
    assert bucket.stamps("again.zarr") == stamps


def test_nothing_but_receipt_and_inventory_remains(bucket, tmp_path):
    run(bucket, "convert", *data(tmp_path), bucket.place("clean.zarr"), "--to", "zarr")
    assert {name for name in bucket.listed("clean.zarr") if name.startswith(".frazil/")} == {".frazil/receipt.json", ".frazil/inventory.tsv"}
    assert not bucket.uploads("clean.zarr")


def test_verify_names_what_was_lost_or_changed_or_added(bucket, tmp_path):
    key = "damaged.zarr"
    run(bucket, "convert", *data(tmp_path), bucket.place(key), "--to", "zarr", "--chunks", "time=5,lat=2,lon=3")
    chunks = sorted(name for name in bucket.listed(key) if name.startswith("sst/c/"))
    lost, flipped, longer = chunks[0], chunks[3], chunks[7]
    bucket.delete(f"{key}/{lost}")
    content = bytearray(bucket.get(f"{key}/{flipped}"))
    content[-1] ^= 1
    bucket.put(f"{key}/{flipped}", bytes(content))
    bucket.put(f"{key}/{longer}", bucket.get(f"{key}/{longer}") + b"x")
    bucket.put(f"{key}/notes.txt", b"mine")
    items = run(bucket, "verify", bucket.place(key), "--json", code=1).report["items"]
    problems = {item["key"]: item["problem"] for item in items}
    assert set(problems) == {lost, flipped, longer, "notes.txt"}, problems
    assert "missing" in problems[lost] and "written" in problems[flipped] and "belong" in problems["notes.txt"]
    assert all("region" in item for item in items if item["key"] != "notes.txt")
    items = run(bucket, "verify", bucket.place(key), "--subset", "1%", "--json", code=1).report["items"]
    assert {lost, longer, "notes.txt"} <= {item["key"] for item in items}


def test_a_place_without_a_store_cannot_be_verified(bucket):
    assert "there is no" in run(bucket, "verify", bucket.place("nowhere.zarr"), code=1).err


def test_inspect_describes_a_store_as_one_thing(bucket, tmp_path):
    key = "looked/at.zarr"
    words = ["convert", *data(tmp_path), "STORE", "--to", "zarr", "--chunks", "time=2,lat=2,lon=3"]
    for place in (bucket.place(key), tmp_path / "at.zarr"):
        run(bucket, *(place if word == "STORE" else word for word in words))
    here = run(bucket, "inspect", tmp_path / "at.zarr", "--digest", "--json").report
    for place in (bucket.place(key), bucket.place(key + "/"), bucket.place("looked/"), bucket.place("looked/*.zarr")):
        there = run(bucket, "inspect", place, "--digest", "--json").report
        assert there["totals"] == here["totals"], place
        assert [item["digest"] for item in there["items"]] == [item["digest"] for item in here["items"]]


@pytest.mark.parametrize("kind", ["files", "one object", "a document that is none"])
def test_what_is_no_store_is_neither_written_over_nor_removed(bucket, tmp_path, kind):
    key = f"strangers/{kind.replace(' ', '-')}"
    names = {"files": ["/a.txt", "/b/c.nc"], "one object": [""], "a document that is none": ["/zarr.json", "/chapter1.txt"]}[kind]
    for name in names:
        bucket.put(key + name, b"mine")
    before = {name: bucket.get(key + name) for name in names}
    for flags in ([], ["--overwrite"]):
        answer = run(bucket, "convert", *data(tmp_path), bucket.place(key), "--to", "zarr", *flags, code=1)
        assert bucket.place(key) in answer.err, str(answer)
    assert {name: bucket.get(key + name) for name in names} == before
    assert not [name for name in bucket.listed(key) if ".frazil" in name]


def test_overwriting_removes_nothing_that_somebody_put_into_a_store(bucket, tmp_path):
    sources, key = data(tmp_path), "visited.zarr"
    run(bucket, "convert", *sources, bucket.place(key), "--to", "zarr")
    bucket.put(f"{key}/notes.txt", b"mine")
    before = bucket.tree(key)
    assert "notes.txt" in run(bucket, "convert", sources[0], bucket.place(key), "--to", "zarr", "--overwrite", code=1).err
    assert bucket.tree(key) == before


def test_a_store_is_not_replaced_by_one_of_files_that_lie_in_it(bucket, tmp_path):
    key = "inside.zarr"
    source = data(tmp_path)[0]
    run(bucket, "convert", source, bucket.place(key), "--to", "zarr")
    bucket.put(f"{key}/one.nc", source.read_bytes())
    run(bucket, "convert", bucket.place(f"{key}/one.nc"), bucket.place(key), "--to", "zarr", "--overwrite", code=1)
    assert bucket.get(f"{key}/one.nc") is not None and bucket.get(f"{key}/zarr.json") is not None


def test_another_programs_store_is_replaced_as_a_whole(bucket, tmp_path):
    sources, key = data(tmp_path), "others.zarr"
    run(bucket, "convert", *sources, tmp_path / "theirs", "--to", "zarr", "--chunks", "time=1,lat=1,lon=1")
    shutil.rmtree(tmp_path / "theirs/.frazil")
    bucket.put_tree(tmp_path / "theirs", key)
    run(bucket, "convert", *sources, bucket.place(key), "--to", "zarr", code=1)
    run(bucket, "convert", *sources, bucket.place(key), "--to", "zarr", "--overwrite")
    run(bucket, "convert", *sources, tmp_path / "ours", "--to", "zarr")
    assert bucket.tree(key) == files(tmp_path / "ours")


def test_a_damaged_store_is_made_again(bucket, tmp_path):
    sources, key = data(tmp_path), "mended.zarr"
    words = ["convert", *sources, bucket.place(key), "--to", "zarr"]
    run(bucket, *words)
    whole = bucket.tree(key)
    for name in ("sst/c/0/0/0", "zarr.json"):
        bucket.delete(f"{key}/{name}")
        run(bucket, *words, code=1)
        run(bucket, *words, "--overwrite")
        assert bucket.tree(key) == whole


def test_parts_of_a_plan_make_the_store_together(bucket, tmp_path):
    data(tmp_path)
    recipe = feedstock(tmp_path / "f", tmp_path / "*.nc")
    run(bucket, "build", recipe, "--to", tmp_path / "z")
    words = ["build", recipe, "--to", bucket.place("parts.zarr"), "--json"]
    run(bucket, *words, "--plan-only")
    parts = [start([*words, "--part", f"{number}/3"], env=bucket.env, out=subprocess.DEVNULL) for number in (1, 2, 3)]
    assert [part.wait(timeout=60) for part in parts] == [0, 0, 0]
    assert bucket.get("parts.zarr/zarr.json") is None
    run(bucket, *words, "--finish")
    assert bucket.tree("parts.zarr") == files(tmp_path / "z")


def test_a_revision_ends_as_on_a_disk(bucket, tmp_path):
    data(tmp_path, 2)
    recipe = feedstock(tmp_path / "f", tmp_path / "*.nc", mode="extend")
    places = [bucket.place("revised.zarr"), tmp_path / "z"]
    for place in places:
        run(bucket, "build", recipe, "--to", place)
    make(tmp_path / "1.nc", days("2001-01-11", 10), stored=np.arange(240).reshape(10, 4, 6))
    make(tmp_path / "2.nc", days("2001-01-21", 10))
    for place in places:
        run(bucket, "build", recipe, "--to", place, code=1)
        run(bucket, "build", recipe, "--to", place, "--revise")
    assert bucket.tree("revised.zarr") == files(tmp_path / "z")


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A store of one chunk of 40 MB that no codec makes smaller: it is sent in parts."""
    folder = tmp_path_factory.mktemp("noisy")
    noise = np.random.default_rng(1).normal(size=(10, 1000, 1000)).astype("f4")
    make(folder / "noise.nc", days("2001-01-01", 10), lat=np.linspace(-90, 90, 1000), lon=np.arange(1000) * 0.36, stored=noise)
    words = ["convert", folder / "noise.nc", "STORE", "--to", "zarr", "--chunks", "time=10,lat=1000,lon=1000"]
    answer = frazil(*(folder / "z" if word == "STORE" else word for word in words))
    assert answer.code == 0, str(answer)
    return words, files(folder / "z")


def test_a_large_chunk_is_sent_in_parts_and_no_upload_stays_open(bucket, noisy):
    words, expected = noisy
    seen = False
    for number in range(8):
        key = f"noisy/{number}.zarr"
        words_here = [bucket.place(key) if word == "STORE" else word for word in words]
        process = start(words_here, env=bucket.env, out=subprocess.DEVNULL, err=subprocess.DEVNULL)
        while process.poll() is None and not bucket.uploads(key):
            time.sleep(0.002)
        time.sleep(0.01 * number)
        process.kill()
        process.wait()
        seen |= bool(bucket.uploads(key))
        assert bucket.get(f"{key}/zarr.json") is None or process.returncode == 0
        run(bucket, *words_here)
        assert bucket.tree(key) == expected
        assert not bucket.uploads(key)
    assert seen, "no kill met an upload"


SCENES = [("build", 3), ("extend", 3), ("replace", 3), ("overwrite", 2), ("shards", 3), ("convert", 2)]


@pytest.fixture(scope="module", params=SCENES, ids=lambda param: f"{param[0]}-v{param[1]}")
def small(request, tmp_path_factory):
    kind, zarr_format = request.param
    return scene(tmp_path_factory.mktemp(kind), kind, zarr_format, threads="2")


def wanted(made: Scene) -> dict[str, str]:
    return {name: digest for name, digest in made.new_tree.items() if digest != "folder"}


def fresh(bucket, made: Scene, key: str) -> list:
    """Puts the state before the command into the bucket; answers the command."""
    if (made.start_folder / "store.zarr").exists():
        bucket.put_tree(made.start_folder / "store.zarr", key)
    return [bucket.place(key) if word == "STORE" else str(word) for word in made.words]


def is_extended(made: Scene) -> bool:
    recipe = pathlib.Path(made.words[1]) / "feedstock/recipe.yaml"
    return made.old is not None and recipe.exists() and "mode: extend" in recipe.read_text()


def faults_after(bucket, made: Scene, key: str, words) -> list[str]:
    wrong = []
    with tempfile.TemporaryDirectory(prefix="frazil-seen-") as folder:
        try:
            seen = view(bucket.fetch_tree(key, pathlib.Path(folder) / "store"))
            if seen not in (made.old, made.new, None):
                wrong.append("a reader sees a mixture")
            if seen is None and is_extended(made):
                wrong.append("a reader of a store that is extended sees nothing")
        except AssertionError as error:
            wrong.append(f"a reader cannot open the store: {str(error)[:300]}")
    answer = frazil(*words, env=bucket.env)
    if answer.code != 0:
        return [*wrong, f"the command typed again: {answer}"]
    wrong += tree_differences(wanted(made), bucket.tree(key))[:5]
    return wrong + [f"an open upload: {name}" for name in bucket.uploads(key)]


def test_a_run_in_peace_ends_as_on_a_disk(bucket, small):
    key = f"peace/{random.random()}.zarr"
    words = fresh(bucket, small, key)
    run(bucket, *words)
    assert bucket.tree(key) == wanted(small)
    run(bucket, "verify", bucket.place(key))


def test_a_kill_at_any_instant_leaves_old_or_none_or_new(bucket, small, soak, seed):
    chance = random.Random(seed)
    key = f"timed/{random.random()}.zarr"
    seconds = run(bucket, *fresh(bucket, small, key)).seconds
    for number in range(N_SOAK_KILLS if soak else N_KILLS):
        key = f"killed/{uuid.uuid4()}.zarr"
        words = fresh(bucket, small, key)
        process = start(words, env=bucket.env, out=subprocess.DEVNULL, err=subprocess.DEVNULL)
        after = chance.uniform(0, seconds * 1.05)
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wrong = faults_after(bucket, small, key, words)
        assert not wrong, f"kill {number} after {after:.4f} of {seconds:.4f} s (seed {seed}): " + "\n".join(wrong)


def claims(root: bytes) -> set[str]:
    """The arrays that a root document speaks of."""
    document = json.loads(root)
    nodes = document.get("consolidated_metadata", {}).get("metadata") or document.get("metadata", {})
    return {name.removesuffix("/.zarray") for name, node in nodes.items() if node.get("node_type") == "array" or name.endswith("/.zarray")}


def test_a_reader_who_polls_never_sees_a_store_without_its_chunks(bucket, small, soak):
    old = files(small.start_folder / "store.zarr") if small.old else {}
    new = wanted(small)
    root = ".zmetadata" if ".zmetadata" in new else "zarr.json"
    for number in range(10 if soak else 2):
        key = f"polled/{random.random()}.zarr"
        words = fresh(bucket, small, key)
        known = {bucket.get(f"{key}/{root}"): old} if old else {}
        runs, seen = [], []
        writer = threading.Thread(target=lambda: runs.append(frazil(*words, env=bucket.env)))
        writer.start()
        while writer.is_alive():
            before = bucket.get(f"{key}/{root}")
            names = set(bucket.listed(key))
            if before is not None and bucket.get(f"{key}/{root}") == before:
                seen.append((before, names))
        writer.join()
        assert runs[0].code == 0, str(runs[0])
        known[bucket.get(f"{key}/{root}")] = new
        for document, names in seen:
            expected = known[document]
            # In v2 `.zmetadata` comes last but one: stock readers look for `.zgroup` first.
            missing = {name for name in expected if not name.startswith(".frazil") and name != ".zgroup"} - names
            assert not missing, f"a reader saw {claims(document)} without {sorted(missing)[:5]}"


def test_two_writers_of_one_store_are_kept_apart(bucket, small, soak):
    for number in range(8 if soak else 2):
        key = f"contested/{random.random()}.zarr"
        words = fresh(bucket, small, key)
        with tempfile.TemporaryFile("w+") as out:
            writers = [start(words, env=bucket.env, out=out, err=out) for _ in range(3)]
            codes = sorted(writer.wait(timeout=120) for writer in writers)
            out.seek(0)
            said = out.read()
        assert codes[0] == 0, said
        assert set(codes) <= {0, 1, 5}, f"exits {codes}\n{said}"
        if codes[-1] != 0:
            assert "another" in said or "begun" in said or "unfinished" in said, said
        wrong = tree_differences(wanted(small), bucket.tree(key))
        assert not wrong, f"exits {codes}: {wrong[:5]}"


def test_an_interrupt_leaves_no_claim_and_the_command_goes_on(bucket, tmp_path):
    noise = np.random.default_rng(1).normal(size=(10, 180, 360)).astype("f4")
    lat, lon = np.linspace(-89.5, 89.5, 180), np.arange(360.0)
    for i in range(16):
        make(tmp_path / f"in-{i:02}.nc", [10 * i + d for d in range(10)], lat=lat, lon=lon, stored=noise + i)
    recipe = feedstock(tmp_path / "f", tmp_path / "in-*.nc", chunks="{time: 40, lat: 10, lon: 10}")
    words = ["build", recipe, "--to", bucket.place("interrupted.zarr"), "--json"]
    process = start(words, env=bucket.env, out=subprocess.DEVNULL, err=subprocess.DEVNULL)
    while process.poll() is None and len(bucket.listed("interrupted.zarr")) < 60:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    assert process.wait(timeout=20) == 130
    assert time.monotonic() - asked < 2
    left = bucket.listed("interrupted.zarr")
    assert ".frazil/lock" not in left and any(name.startswith(".frazil/journal/") for name in left)
    kept = {name: stamp for name, stamp in bucket.stamps("interrupted.zarr").items() if name.startswith("sst/c/")}
    assert kept
    run(bucket, *words)
    again = bucket.stamps("interrupted.zarr")
    # What was put in the last moment may be in no journal.
    n_kept = sum(again[name] == stamp for name, stamp in kept.items())
    assert n_kept > len(kept) * 0.9, f"of {len(kept)} chunks {n_kept} were kept"
    run(bucket, "build", recipe, "--to", tmp_path / "z")
    assert bucket.tree("interrupted.zarr") == files(tmp_path / "z")
