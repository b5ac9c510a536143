"""Virtual datasets whose own documents were damaged: every flipped bit and every lost object is found by `frazil verify` and
when the command is typed again; `--overwrite` makes the dataset whole; what older runs wrote without digests still verifies."""

import json
import pathlib
import random
import re
import shutil

import numcodecs
import pytest

import clients
from command import frazil
from make import days
from same import isolated
from virtual import FORMATS, convert, make, place_in, references_of, verdict_of, versions

GRID = {"zlib": True, "complevel": 4, "chunksizes": (1, 60, 80)}
# Of another chain of codecs: its chunks are made and lie in the repository.
OTHER = {**GRID, "shuffle": False}


@pytest.fixture(autouse=True)
def needs_virtual():
    clients.needs_target("virtual")


@pytest.fixture(scope="module", params=FORMATS)
def made(request, tmp_path_factory):
    clients.needs_target("virtual")
    folder = tmp_path_factory.mktemp("damage")
    (folder / "in").mkdir()
    second = OTHER if request.param == "icechunk" else GRID
    sources = [make(folder / "in" / f"{name}.nc", days(first, 5), **odd) for name, first, odd in (("one", "2000-01-01", GRID), ("two", "2000-01-06", second))]
    dest = place_in(folder / "kept", request.param)
    dest.parent.mkdir()
    assert convert(sources, dest, request.param).code == 0
    if request.param == "icechunk":
        assert list((dest / "chunks").iterdir()), "something of it is its own"
    return request.param, sources, dest


@pytest.fixture
def state(made, tmp_path):
    """A copy that may be damaged."""
    form, sources, kept = made
    dest = place_in(tmp_path, form)
    shutil.copytree(kept, dest) if kept.is_dir() else shutil.copy2(kept, dest)
    return form, sources, dest


def objects(dest: pathlib.Path) -> list[pathlib.Path]:
    return [dest] if dest.is_file() else sorted(path for path in dest.rglob("*") if path.is_file())


def verified(dest, *words):
    answer = frazil("verify", dest, "--json", *words)
    assert answer.crash() is None, str(answer)
    return answer


def is_whole(dest) -> bool:
    return verified(dest).code == 0


def assert_found(dest, sources, form, what):
    """Damage is an error to `verify`, with and without `--sources`, and nobody is told that all is there already."""
    assert verified(dest).code != 0, f"{what}: verify sees nothing"
    assert verified(dest, "--sources").code != 0, f"{what}: --sources sees nothing"
    again = convert(sources, dest, form)
    assert again.crash() is None, str(again)
    # A document without which nothing shows the dataset may be written anew; then it must be whole again.
    if again.code == 0:
        assert again.report["outcome"] == "written" and is_whole(dest), f"{what}: typed again says {again.report.get('outcome')}"


def test_every_flipped_bit_and_every_lost_object_is_found(state, soak):
    form, sources, dest = state
    assert is_whole(dest)
    chance = random.Random(form)
    missed = []
    for path in objects(dest):
        content = path.read_bytes()
        n_flips = (400 if soak else 40) if dest.is_file() else (40 if soak else 5)
        for _ in range(n_flips):
            at, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
            path.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
            if is_whole(dest):
                missed.append((path.name, at, bit))
        path.unlink()
        if is_whole(dest):
            missed.append((path.name, "lost"))
        path.write_bytes(content[: len(content) // 2])
        if is_whole(dest):
            missed.append((path.name, "cut"))
        path.write_bytes(content)
    assert missed == [] and is_whole(dest)


def test_no_damage_is_already_there(state):
    form, sources, dest = state
    chance = random.Random(form + "typed")
    for path in objects(dest):
        if path.parent.name == "chunks":
            continue  # Those are looked at, not read, as the chunks of a Zarr store are.
        content = path.read_bytes()
        for _ in range(3):
            at, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
            path.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
            again = convert(sources, dest, form)
            assert again.code != 0, f"{path.name} {at} {bit}: {again}"
            path.write_bytes(content)
    assert convert(sources, dest, form).report["outcome"] == "already-there"


# Each alters a document of references so that it still opens, and reads wrong.

def swap(text):
    return text.replace('"sst/0.0.0"', '"sst/TMP"').replace('"sst/1.0.0"', '"sst/0.0.0"').replace('"sst/TMP"', '"sst/1.0.0"')


def without_one(text):
    return re.sub(r'"sst/1\.0\.0":\[[^\]]*\],\n', "", text)


def another_year(text):
    # Of every place that says it.
    return re.sub(r"(days|hours) since 2000", r"\1 since 1999", text)


def scaled(text):
    return text.replace('long_name\\": ', 'scale_factor\\": 2.0, \\"long_name\\": ')


@pytest.mark.parametrize("alter", [swap, without_one, another_year, scaled])
def test_a_document_that_says_other_things_is_found(state, alter):
    form, sources, dest = state
    if form != "kerchunk-json":
        pytest.skip("text can be altered by hand in one JSON document")
    text = dest.read_text()
    assert alter(text) != text
    dest.write_text(alter(text))
    assert json.loads(dest.read_text())
    assert_found(dest, sources, form, alter.__name__)


def test_units_of_another_year_are_found_in_tables(state):
    form, sources, dest = state
    if form != "kerchunk-parquet":
        pytest.skip("tables have a document of metadata")
    metadata = dest / ".zmetadata"
    text = metadata.read_text()
    assert another_year(text) != text
    metadata.write_text(another_year(text))
    assert_found(dest, sources, form, "units")


def test_settings_that_lead_elsewhere_are_found(state):
    form, sources, dest = state
    if form != "icechunk":
        pytest.skip("a repository has settings")
    settings = dest / "config.yaml"
    text = settings.read_text()
    settings.write_text(text.replace("file://", "file:///elsewhere"))
    assert settings.read_text() != text
    assert_found(dest, sources, form, "config.yaml")


def is_lost_for_good(path, form, harm):
    """Without some objects nobody can know that the dataset was frazil's, or that there was one."""
    if path.parent.name == "branch.main":
        return True
    return harm == "lost" and (form == "kerchunk-json" or path.name in ("virtual.json", ".zmetadata"))


@pytest.mark.parametrize("harm", ["flipped", "lost"])
def test_overwriting_makes_it_whole(state, harm):
    form, sources, dest = state
    for path in objects(dest):
        if is_lost_for_good(path, form, harm):
            continue
        content = path.read_bytes()
        middle = len(content) // 2
        path.unlink()
        if harm == "flipped":
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        assert not is_whole(dest), path
        answer = convert(sources, dest, form, "--overwrite")
        assert answer.code == 0 and answer.report["outcome"] == "written", f"{path}: {answer}"
        assert is_whole(dest), f"{path}: {verified(dest)}"
        assert convert(sources, dest, form).report["outcome"] == "already-there"
    assert verdict_of(sources, dest, form) == "joined"


def test_what_is_whole_is_not_overwritten(state):
    form, sources, dest = state
    before = {path: path.read_bytes() for path in objects(dest)}
    answer = convert(sources, dest, form, "--overwrite")
    assert answer.code == 0 and answer.report["outcome"] == "already-there"
    assert {path: path.read_bytes() for path in objects(dest)} == before


# What older runs wrote.

def forget_digests(dest, form):
    """The dataset as it was written before digests were kept."""
    def older(record):
        record["frazil_virtual"] = 1
        record.pop("objects", None), record.pop("seal", None)
        return record

    if form == "kerchunk-json":
        document = json.loads(dest.read_text())
        assert document.pop("frazil_blake3")
        older(document["frazil"])
        dest.write_text(json.dumps(document, separators=(",", ":")))
        return
    records = [dest / ".frazil" / "virtual.json"] if form == "kerchunk-parquet" else list((dest / ".frazil" / "virtual").iterdir())
    for path in records:
        path.write_text(json.dumps(older(json.loads(path.read_text())), indent=2))


def test_what_older_runs_wrote_verifies_and_can_be_made_anew(state):
    form, sources, dest = state
    forget_digests(dest, form)
    answer = verified(dest)
    assert answer.code == 0, str(answer)
    assert [note["code"] for note in answer.report["warnings"]] == ["verify.no-digests"], str(answer)
    assert verified(dest, "--sources").code == 0
    assert verdict_of(sources, dest, form) == "joined"
    assert convert(sources, dest, form).report["outcome"] == "already-there"
    again = convert(sources, dest, form, "--overwrite")
    assert again.code == 0 and again.report["outcome"] == "written", str(again)
    whole = verified(dest)
    assert whole.code == 0 and not whole.report.get("warnings"), str(whole)


def test_names_made_of_content_show_damage_without_digests(state):
    form, _, dest = state
    if form != "icechunk":
        pytest.skip("names in a repository are made of content")
    forget_digests(dest, form)
    head = json.loads((dest / "refs" / "branch.main" / "ref.json").read_text())["snapshot"]
    chance = random.Random(5)
    for path in [*(dest / "manifests").iterdir(), dest / "snapshots" / head]:
        content = path.read_bytes()
        for _ in range(20):
            # Behind the header, whose letters mean nothing.
            at, bit = chance.randrange(39, len(content)), 1 << chance.randrange(8)
            path.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
            assert not is_whole(dest) or unpacked(path) == unpacked(content), (path.name, at, bit)
        path.write_bytes(content)
    assert is_whole(dest)


def unpacked(document) -> bytes | None:
    """What readers see of a document: a few bits of its packing can flip and give the same."""
    content = document if isinstance(document, bytes) else document.read_bytes()
    try:
        return bytes(numcodecs.Zstd().decode(content[39:]))
    except RuntimeError:
        return None


# Extended.

def test_each_state_of_an_extended_repository_is_compared(state, tmp_path):
    form, sources, dest = state
    if form != "icechunk":
        pytest.skip("a repository keeps its states")
    more = [*sources, make(tmp_path / "three.nc", days("2000-01-11", 5), **GRID)]
    answer = convert(more, dest, form, "--overwrite")
    assert answer.code == 0 and answer.report["outcome"] == "written", str(answer)
    assert len(versions(dest)) == 3 and is_whole(dest)
    for folder in ("snapshots", "transactions", "manifests"):
        for path in (dest / folder).iterdir():
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            assert not is_whole(dest), path
            path.write_bytes(content)
    assert is_whole(dest)


def test_what_icechunk_collects_is_no_damage(state, tmp_path):
    form, sources, dest = state
    if form != "icechunk":
        pytest.skip("garbage is collected in repositories")
    more = [*sources, make(tmp_path / "three.nc", days("2000-01-11", 5), **GRID)]
    assert convert(more, dest, form, "--overwrite").code == 0
    before = len(list((dest / "snapshots").iterdir()))
    isolated(collect, str(dest))
    assert len(list((dest / "snapshots").iterdir())) < before, "a state is gone"
    answer = verified(dest)
    assert answer.code == 0, str(answer)
    assert convert(more, dest, form).report["outcome"] == "already-there"


def collect(place):
    """Lets go of all states but the present one, as its maintainers say."""
    import datetime

    from virtual import repository

    now = datetime.datetime.now(datetime.timezone.utc)
    repository(place).expire_snapshots(older_than=now)
    repository(place).garbage_collect(now)


def test_words_say_what_was_read(state):
    form, sources, dest = state
    answer = frazil("verify", dest)
    assert answer.code == 0, str(answer)
    totals = verified(dest).report["totals"]
    n_objects = {"kerchunk-json": 1}.get(form, len(objects(dest)) - (1 if form == "kerchunk-parquet" else 2))
    assert totals["objects"] == totals["objects_read"] == n_objects, f"all but the record and the branch: {totals}"
    assert totals["read_bytes"] > 0 and totals["files"] == len(sources)
    assert f"{n_objects} of {n_objects} objects read" in answer.text and "2 files that it leads to looked at" in answer.text
