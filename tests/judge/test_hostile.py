"""Bad input: cut files, flipped bytes, bombs. Whatever comes, an answer within 10 s and 512 MB, never a crash.

CI takes a seeded sample of the cuts and flips; `--soak` cuts every file of the corpus at twenty points and flips
five thousand bytes. A failure keeps nothing: the seed and the case's name make the file again.
"""

import concurrent.futures
import pathlib
import random
import re
import shutil
import zlib

import h5py
import netCDF4
import numpy as np
import pytest
import zarr

from command import CORPUS, frazil
from corpus_score import MAX_RSS_BYTES, MAX_SECONDS
from make import days, feedstock, make
from sweep import single_sources

N_CUTS = 20
N_FLIPS = 5000
HEADER_BYTES = 4096


def faults(answer, name) -> list[str]:
    """Why an answer to a hostile file is not good enough."""
    wrong = []
    if answer.crash():
        wrong.append(answer.crash())
    elif answer.report is None:
        wrong.append(f"exit {answer.code} without a Report: {answer.text.strip()[:200]}")
    elif answer.code not in (0, 3) and not (answer.report.get("error") or {}).get("message"):
        wrong.append("refused without an error in the Report")
    if answer.seconds > MAX_SECONDS:
        wrong.append(f"{answer.seconds:.1f} s")
    if answer.rss_bytes > MAX_RSS_BYTES:
        wrong.append(f"{answer.rss_bytes >> 20} MiB")
    return [f"{name}: {line}" for line in wrong]


def inspected(path, name) -> list[str]:
    return faults(frazil("inspect", path, "--digest", "--json", timeout=3 * MAX_SECONDS), name)


def run_all(folder, cases) -> list[str]:
    """Each case is (name, content maker); two at a time."""

    def one(case):
        number, (name, content) = case
        path = folder / f"{number}{pathlib.Path(name.split(' ')[0]).suffix}"
        path.write_bytes(content())
        try:
            return inspected(path, name)
        finally:
            path.unlink()

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return [line for found in pool.map(one, enumerate(cases)) for line in found]


def test_files_cut_anywhere_are_survived(corpus, tmp_path, soak, seed):
    chance = random.Random(seed)
    cases = []
    for source in single_sources():
        content = (CORPUS / source).read_bytes()
        # The head of a file is where its structure lies; half of the cuts go there.
        points = [chance.randrange(max(1, len(content) if i % 2 else min(len(content), HEADER_BYTES))) for i in range(N_CUTS)]
        cases += [(f"{source} cut at {at}", lambda content=content, at=at: content[:at]) for at in points]
    wrong = run_all(tmp_path, cases if soak else chance.sample(cases, 150))
    assert not wrong, f"seed {seed}:\n" + "\n".join(wrong[:30])


def test_files_with_flipped_bytes_are_survived(corpus, tmp_path, soak, seed):
    chance = random.Random(seed + 1)
    sources = single_sources()
    cases = []
    for _ in range(N_FLIPS if soak else 150):
        source = chance.choice(sources)
        content = bytearray((CORPUS / source).read_bytes())
        n_flips = chance.choice([1, 1, 4, 16])
        for _ in range(n_flips):
            at = chance.randrange(min(len(content), chance.choice([256, HEADER_BYTES, len(content)])) or 1)
            content[at] = chance.choice([0, 0xFF, 0x7F, 0x80, content[at] ^ 1 << chance.randrange(8)])
        cases.append((f"{source} with {n_flips} other bytes ({len(cases)})", lambda content=bytes(content): content))
    wrong = run_all(tmp_path, cases)
    assert not wrong, f"seed {seed}:\n" + "\n".join(wrong[:30])


def test_a_chunk_that_inflates_a_thousandfold_is_survived(tmp_path):
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        # 1.6 GB of zeros in one chunk of 1.6 MB.
        file.create_dataset("zeros", (400_000_000,), "f4", chunks=(400_000_000,), compression="gzip", compression_opts=9)
        packer = zlib.compressobj(9)
        block = bytes(16_000_000)
        content = b"".join(packer.compress(block) for _ in range(100)) + packer.flush()
        file["zeros"].id.write_direct_chunk((0,), content)
    assert not inspected(tmp_path / "bomb.h5", "bomb.h5")


def test_a_chunk_that_inflates_to_more_than_it_says_is_refused(tmp_path):
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("small", (100,), "f4", chunks=(100,), compression="gzip")
        file["small"].id.write_direct_chunk((0,), zlib.compress(bytes(300_000_000), 9))
    answer = frazil("inspect", tmp_path / "bomb.h5", "--digest", "--json")
    assert not faults(answer, "bomb.h5")
    items = {item.get("path"): item for item in answer.report.get("items") or []}
    assert answer.code != 0 or items["/small"].get("unread"), "400 bytes were promised, 300 MB came, and nobody minded"


@pytest.mark.parametrize("shape", [(2**40,), (2**31, 2**31), (2**20, 2**20, 2**20)], ids=str)
def test_an_array_too_large_for_any_disk_is_survived(tmp_path, shape):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("huge", shape, "f8", chunks=tuple(min(n, 64) for n in shape))
        file["huge"][(0,) * len(shape)] = 1
    assert not inspected(tmp_path / "huge.h5", "huge.h5")
    answer = frazil("convert", tmp_path / "huge.h5", tmp_path / "z", "--to", "zarr", "--json", timeout=3 * MAX_SECONDS)
    assert not faults(answer, "huge.h5")


YAML_BOMBS = {
    "aliases": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi")),
    "deep": "[" * 1_000_000, "deep maps": "".join(" " * i + f"k{i}:\n" for i in range(3000)), "long": "recipe: 1\nid: " + "x" * 100_000_000,
    "many keys": "".join(f"k{i}: 1\n" for i in range(1_000_000)), "an alias to itself": "a: &a [*a]", "a key twice": "recipe: 1\nrecipe: 1\nid: x",
    "not text": "\x00\x01\x02", "a range": "recipe: 1\nid: x\nsources: {f: {url: \"{year}.nc\", keys: {year: 0..999999999999}}}\n",
}


@pytest.mark.parametrize("bomb", YAML_BOMBS)
def test_a_recipe_that_is_a_bomb_is_refused(tmp_path, bomb):
    recipe = feedstock(tmp_path / "f", tmp_path / "*.nc")
    (recipe / "feedstock" / "recipe.yaml").write_text(YAML_BOMBS[bomb])
    answer = frazil("feedstock", "lint", recipe, "--json", timeout=20)
    assert answer.crash() is None and answer.code in (1, 2), str(answer)[:2000]
    assert answer.seconds < 3 and answer.rss_bytes < 512 << 20, f"{answer.seconds:.1f} s, {answer.rss_bytes >> 20} MiB"
    assert len(answer.text) < 20_000, "the refusal repeats the bomb"


MISTAKES = {
    "an unknown key": ("combine:", "combin:", r"combine|combin"), "an unknown mode": ("mode: create", "mode: creat", "create"),
    "a placeholder": ("id: made", "id: <INSERT>", "INSERT|placeholder"), "an unknown dimension": ("along: time", "along: tme", "time|tme"),
    "a variable that is not there": ("combine:", "each: [{keep: [sts]}]\ncombine:", "sst"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_recipe_is_shown_with_its_line_and_a_suggestion(tmp_path, mistake):
    make(tmp_path / "one.nc", days("2000-01-01", 3))
    recipe = feedstock(tmp_path / "f", tmp_path / "*.nc")
    path = recipe / "feedstock" / "recipe.yaml"
    right, wrong, rule = MISTAKES[mistake]
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong, 1))
    line = next(i for i, row in enumerate(path.read_text().splitlines(), 1) if wrong.splitlines()[0] in row)
    answer = frazil("build", recipe, "--to", tmp_path / "z", "--json")
    assert answer.crash() is None and answer.code in (1, 2), str(answer)
    assert re.search(rule, answer.text) and re.search(rf"\b{line}\b", answer.text), f"no line {line}, or no /{rule}/\n{answer}"
    assert not (tmp_path / "z").exists()


def test_random_bytes_are_no_dataset(tmp_path, seed):
    noise = np.random.default_rng(seed)
    for head in (b"", b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02", b"CDF\x05", b"PK\x03\x04", b"GRIB"):
        path = tmp_path / "noise.nc"
        path.write_bytes(head + noise.bytes(5000))
        answer = frazil("inspect", path, "--digest", "--json")
        assert not faults(answer, repr(head))
        assert answer.code != 0 and "noise.nc" in answer.text, str(answer)


N_NETCDF3_FLIPS = 150


@pytest.mark.parametrize("kind", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"])
def test_a_bit_of_a_netcdf3_header_makes_no_other_values_than_the_library_reads(tmp_path, soak, seed, kind):
    """Places that lie in one another are refused there, too."""
    with netCDF4.Dataset(tmp_path / "in.nc", "w", format=kind) as file:
        file.createDimension("time", None)
        file.createDimension("x", 3)
        for name, dtype, dimensions in [("time", "f8", ("time",)), ("x", "f8", ("x",)), ("a", "i2", ("time", "x")), ("b", "f4", ("x",))]:
            file.createVariable(name, dtype, dimensions)[:] = np.arange(12 if len(dimensions) == 2 else 4 if name == "time" else 3).reshape((4, 3) if len(dimensions) == 2 else -1)
    whole = (tmp_path / "in.nc").read_bytes()
    bits = range(32, 8 * (len(whole) - 4 * 16))
    wrong = []
    for bit in bits if soak else sorted(random.Random(seed).sample(bits, N_NETCDF3_FLIPS)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        (tmp_path / "bad.nc").write_bytes(damaged)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        if frazil("convert", tmp_path / "bad.nc", tmp_path / "out", "--to", "zarr").code != 0:
            continue
        try:
            with netCDF4.Dataset(tmp_path / "bad.nc") as theirs:
                theirs.set_auto_mask(False)
                want = {name: theirs[name][:].tobytes() for name in theirs.variables}
        except UnicodeDecodeError:
            continue  # a name; the library's Python reader can say nothing of such files
        except (OSError, RuntimeError) as error:
            wrong.append(f"bit {bit}: the library says {error}")
            continue
        ours = zarr.open_group(tmp_path / "out", mode="r")
        wrong += [f"bit {bit}: {name}" for name in want if ours[name][:].tobytes() != want[name]]
    assert not wrong, f"{len(wrong)}: {wrong[:20]}"
