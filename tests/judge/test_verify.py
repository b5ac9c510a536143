"""`frazil verify`: no lost chunk, no flipped bit and no value other than the source's goes unseen; no false alarm."""

import pytest

from command import CORPUS, frazil
from make import counter, days, make
from sweep import single_sources
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


def feedstock(folder, each, combine="{along: time}", n_files=3, change=None):
    """A feedstock of `n_files` files of two days each; `change` is called with each file's number and values."""
    for number in range(n_files):
        stored = counter((2, 40, 60)).astype("f4") + 1000 * number
        if change:
            change(number, stored)
        make(folder / f"a{number}.nc", days(f"2000-01-{1 + 2 * number:02}", 2), stored=stored, fill=-1.0, lat=range(40), lon=range(60))
    (folder / "feedstock").mkdir(exist_ok=True)
    text = f'recipe: 1\nid: small\nsources: {{f: {{glob: "a*.nc"}}}}\neach: {each}\ncombine: {combine}\nwrite: zarr\n'
    (folder / "feedstock/recipe.yaml").write_text(text)


STEPS = '[{subset: {lat: [-100, 100]}}, {calc: {double: "sst * 2"}}, {sort: {lon: descending}}]'


@pytest.mark.parametrize("words", [[], ["--select", "time=2000-01-02/2000-01-05"], ["--prune", "2"]])
def test_a_store_of_a_recipe_is_compared_by_its_recipe(tmp_path, words):
    feedstock(tmp_path, STEPS)
    answer = frazil("build", tmp_path, "--to", tmp_path / "z", "--json", *words)
    assert answer.code == 0, str(answer)
    answer = verify(tmp_path / "z", "--sources")
    assert answer.code == 1 and "verify.cannot-repeat" in answer.out and "--feedstock" in answer.out, str(answer)
    answer = verify(tmp_path / "z", "--feedstock", tmp_path)
    assert answer.code == 0 and answer.report["totals"]["values_compared"] > 10000, str(answer)
    assert bool(answer.report["warnings"]) == (words == ["--prune", "2"])

    def one_value(number, stored):
        if number == 1:
            stored[0, 3, 5] += 1

    feedstock(tmp_path, STEPS, change=one_value)
    answer = verify(tmp_path / "z", "--feedstock", tmp_path)
    assert answer.code == 1 and "a1.nc" in answer.text and "double" in answer.text, str(answer)


def test_another_recipe_is_no_yardstick(tmp_path):
    feedstock(tmp_path, STEPS)
    assert frazil("build", tmp_path, "--to", tmp_path / "z").code == 0
    feedstock(tmp_path, "[{subset: {lat: [-100, 100]}}]")
    answer = verify(tmp_path / "z", "--feedstock", tmp_path)
    assert answer.code == 1 and "verify.other-recipe" in answer.out and "each" in answer.out, str(answer)


def test_what_was_selected_is_compared_with_what_is_selected(tmp_path):
    feedstock(tmp_path, "[]")
    words = ["--vars", "sst", "--select", "time=2000-01-02/2000-01-05,lat=-100/100", "--align", "lat=1e-3"]
    sources = sorted(tmp_path.glob("a*.nc"))
    answer = frazil("convert", *sources, tmp_path / "z", "--to", "zarr", *words)
    assert answer.code == 0, str(answer)
    answer = verify(tmp_path / "z", "--sources")
    assert answer.code == 0 and answer.report["totals"]["values_compared"] > 4 * 2400, str(answer)

    def one_value(number, stored):
        if number == 1:
            stored[0, 3, 5] += 1

    feedstock(tmp_path, "[]", change=one_value)
    answer = verify(tmp_path / "z", "--sources")
    assert answer.code == 1 and "a1.nc" in answer.text, str(answer)


def test_holes_and_missing_files_are_compared_as_well(tmp_path):
    feedstock(tmp_path, "[]", combine="{along: time, align: {lat: outer}}")
    make(tmp_path / "a3.nc", days("2000-01-07", 2), stored=counter((2, 30, 60)).astype("f4"), fill=-1.0, lat=range(200, 230), lon=range(60))
    assert frazil("build", tmp_path, "--to", tmp_path / "z").code == 0
    again = frazil("build", tmp_path, "--to", tmp_path / "z", "--json")
    assert again.code == 0 and again.report["outcome"] == "already-there", str(again)
    for words in (["--sources"], ["--feedstock", tmp_path]):
        answer = verify(tmp_path / "z", *words)
        assert answer.code == 0 and answer.report["totals"]["values_compared"] > 8 * 70 * 60, str(answer)


MADE = {"v3": ["--to", "zarr"], "v2": ["--to", "zarr", "--zarr-format", "2"], "kept": ["--to", "zarr", "--codec", "keep"], "icechunk": ["--to", "virtual"], "kerchunk": ["--to", "virtual", "--format", "kerchunk-json"]}


@pytest.mark.one_in(20)
@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("source", single_sources())
def test_what_is_made_of_a_real_file_is_found_equal_to_it(tmp_path, source, made):
    """A verifier that calls good data damaged is believed by nobody."""
    answer = frazil("convert", CORPUS / source, tmp_path / "out", *MADE[made], timeout=300)
    if answer.code not in (0, 3) or not (tmp_path / "out").exists():
        return  # refused by name, which `test_open_equals_source.py` judges
    verified = frazil("verify", tmp_path / "out", "--sources", CORPUS / source, timeout=300)
    assert verified.code == 0, verified
