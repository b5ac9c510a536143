#!/usr/bin/env python3
"""Converts every netCDF and HDF5 file and every series of the corpus, and judges each store against its source.

It promises one verdict per source: equal, refused with the file and a reason named, or wrong. Run as a program it
prints the sweep and the refusals table as it should be; `test_open_equals_source.py` runs it case by case.

    python3 tests/judge/sweep.py [--match PART_OF_PATH] [--format 2|3]
"""

import argparse
import collections
import csv
import pathlib
import re
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from command import CORPUS, Answer, frazil  # noqa: E402
from same import ReferenceCrashed, compare_file, isolated  # noqa: E402
from series import compare_series  # noqa: E402
from verdicts import is_visible  # noqa: E402

# Variables for which the reference itself answers with memory that it never wrote, so that two runs differ, or that it leaves
# out although h5py reads them: of nameless compounds netCDF4-python finds only the first.
REFERENCE_WRONG = {
    "netcdf4/ioos-compliance-checker/compliance_checker/tests/data/bad_missing_data.nc": ("temp",),
    "hdf5/brtnfld-hdf5/h5dump/testfiles/tnestedcmpddt.h5": ("dset2",),
    "hdf5/brtnfld-hdf5/h5dump/testfiles/tsaf.h5": ("Cat", "Collection", "Field", "FieldTmpl", "Relation", ".SAF_DbProps"),
}

REFUSALS = pathlib.Path(__file__).with_name("refusals.tsv")


def single_sources() -> list[str]:
    """Paths, below the corpus, of all files that netCDF readers may open; hostile ones are judged elsewhere."""
    if not (CORPUS / "MANIFEST.tsv").exists():
        return []
    with open(CORPUS / "MANIFEST.tsv", encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file, delimiter="\t"))
    kept = [row for row in found if row["category"] in ("netcdf3", "netcdf4", "hdf5")]
    return sorted(row["path"] for row in kept if not row["expected_outcome"].startswith("SURVIVE"))


def series_sources() -> list[str]:
    """The folders, below the corpus, whose files are one series."""
    folders = {str(pathlib.Path(path).parent) for path in single_sources()}
    return sorted(folder for folder in folders if "/series_" in folder)


def refusals() -> dict[str, tuple[str, str]]:
    """The known refusals: source -> (`refused` or `partly`, why)."""
    with open(REFUSALS, encoding="utf-8", newline="") as file:
        rows = csv.reader((line for line in file if not line.startswith("#")), delimiter="\t")
        return {row[0]: (row[1], row[2]) for row in rows if row}


def unread_paths(answer: Answer) -> dict[str, str]:
    """Variables that the Report says were left out, with the reason."""
    items = (answer.report or {}).get("items") or []
    named = [i for i in items if isinstance(i, dict) and i.get("unread") and i.get("path")]
    return {"/" + i["path"].lstrip("/"): i["unread"] for i in named if not i.get("attribute")}


def unread_attributes(answer: Answer) -> tuple:
    """Attributes that the Report says were left out, as `variable@attribute`."""
    items = (answer.report or {}).get("items") or []
    named = [i for i in items if isinstance(i, dict) and i.get("unread") and i.get("attribute")]
    return tuple(f"{(i.get('path') or '/').rsplit('/', 1)[1] or '(dataset)'}@{i['attribute']}" for i in named)


def refusal_faults(answer: Answer, sources: list[pathlib.Path], dest: pathlib.Path) -> list[str]:
    """What a refusal lacks: a file and a reason named, an error with a code, nothing left to see."""
    error = (answer.report or {}).get("error") or {}
    faults = []
    if not (error.get("code") and error.get("message")):
        faults.append("refused without code and message in the Report")
    if not any(source.name in str(error) + answer.err for source in sources):
        faults.append("the refusal names no source file")
    if is_visible(dest):
        faults.append("a refused store can be opened")
    return faults


def judge(source: str, zarr_format=3, flags=()) -> tuple[str, str]:
    """One source to (`equal`, `refused`, `partly`, `wrong` or `unjudged`; why)."""
    place = CORPUS / source
    sources = sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else [place]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="frazil-judge-"))
    dest = folder / "store.zarr"
    try:
        answer = frazil("convert", *sources, dest, "--to", "zarr", "--zarr-format", zarr_format, "--json", *flags)
        crash = answer.crash()
        if crash:
            return "wrong", f"{crash}\n{answer}"
        if answer.code == 1:
            faults = refusal_faults(answer, sources, dest)
            if faults:
                return "wrong", "; ".join(faults) + f"\n{answer}"
            error = answer.report["error"]
            return "refused", re.sub(r"\s+", " ", f"{error['code']}: {error['message']}").replace(str(CORPUS) + "/", "")
        if answer.code not in (0, 3):
            return "wrong", f"exit {answer.code}\n{answer}"
        if not is_visible(dest):
            return "wrong", f"exit {answer.code}, and there is nothing to open\n{answer}"
        unread = unread_paths(answer)
        if answer.code == 3 and not unread and not unread_attributes(answer):
            return "wrong", f"done in part, but the Report names no variable that was left out\n{answer}"
        if answer.code == 0 and unread:
            return "wrong", f"exit 0, but {sorted(unread)} were left out"
        if place.is_dir():
            verdict = isolated(compare_series, [str(path) for path in sources], str(dest))
        else:
            verdict = isolated(compare_file, str(place), str(dest), tuple(unread), REFERENCE_WRONG.get(source, ()), unread_attributes(answer))
        if verdict.differences:
            return "wrong", str(verdict)
        if verdict.uncomparable and place.is_dir():
            return "wrong", f"written, although {verdict.uncomparable}"
        if unread:
            return "partly", "; ".join(f"{path}: {reason}" for path, reason in sorted(unread.items()))
        return ("unjudged", verdict.uncomparable) if verdict.uncomparable else ("equal", ",".join(sorted(verdict.rules)))
    except ReferenceCrashed as error:
        return "unjudged", str(error)
    except AssertionError as error:
        return "wrong", f"stock xarray cannot read the store: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="open equals source, over the corpus")
    parser.add_argument("--match", default="")
    parser.add_argument("--format", default=3, type=int)
    arguments = parser.parse_args()
    counts, table, reasons = collections.Counter(), [], []
    for source in [*single_sources(), *series_sources()]:
        if arguments.match in source:
            outcome, why = judge(source, arguments.format)
            counts[outcome] += 1
            if outcome in ("refused", "partly"):
                table.append(f"{source}\t{outcome}\t{why[:160]}")
            elif outcome != "equal" or why:
                reasons.append(f"{outcome:9}{source}\n    " + "\n    ".join(why.splitlines()[:8]))
    print("\n".join(reasons))
    print("\n# refusals.tsv as it is now (read each line before you keep it)\n" + "\n".join(table))
    print("\nopen equals source: " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items())))
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
