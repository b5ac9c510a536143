#!/usr/bin/env python3
"""Makes every netCDF and HDF5 file and every series of the corpus virtual, and judges each against its source.

It promises one verdict per source and format. Run as a program it prints the table of refusals as it should be;
`test_virtual.py` runs it case by case.

    python3 tests/judge/virtual_sweep.py [--match PART_OF_PATH] [--format icechunk|kerchunk-json|kerchunk-parquet]
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
from command import CORPUS  # noqa: E402
from same import MAX_COMPARED_BYTES, ReferenceCrashed, compare_file, groups_of, isolated  # noqa: E402
from series import compare_series  # noqa: E402
from sweep import REFERENCE_WRONG, refusal_faults, refusals, series_sources, single_sources, unread_attributes, unread_paths  # noqa: E402
from virtual import FORMATS, Virtual, compare_groups, convert, is_there, place_in, report_faults  # noqa: E402

REFUSALS = pathlib.Path(__file__).with_name("virtual_refusals.tsv")
MAX_REFUSALS = 8


def virtual_refusals() -> dict[tuple[str, str], str]:
    """What xarray opens and frazil does not make virtual: (source, format) -> why. A format of `*` is each."""
    found = {}
    with open(REFUSALS, encoding="utf-8", newline="") as file:
        for row in csv.reader((line for line in file if not line.startswith("#")), delimiter="\t"):
            for form in FORMATS if row and row[1] == "*" else row[1:2]:
                found[row[0], form] = row[2]
    return found


def judge(source: str, form: str, flags=()) -> tuple[str, str]:
    """One source to (`equal`, `refused`, `partly`, `wrong` or `unjudged`; why). `unjudged`: xarray cannot open it."""
    place = CORPUS / source
    sources = sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else [place]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="frazil-judge-"))
    dest = place_in(folder, form)
    try:
        answer = convert(sources, dest, form, *flags)
        if answer.crash():
            return "wrong", f"{answer.crash()}\n{answer}"
        if answer.code == 1:
            faults = refusal_faults(answer, sources, dest) + ["a refused dataset can be opened"] * is_there(dest)
            if faults:
                return "wrong", "; ".join(faults) + f"\n{answer}"
            if not place.is_dir() and not isolated(opens_in_xarray, str(place)):
                return "unjudged", "xarray does not read it either"
            error = answer.report["error"]
            return "refused", re.sub(r"\s+", " ", f"{error['code']}: {error['message']}").replace(str(CORPUS) + "/", "")
        if answer.code not in (0, 3):
            return "wrong", f"exit {answer.code}\n{answer}"
        if not is_there(dest):
            return "wrong", f"exit {answer.code}, and there is nothing to open\n{answer}"
        unread, attributes = unread_paths(answer), unread_attributes(answer)
        if answer.code == 3 and not unread and not attributes:
            return "wrong", f"done in part, but the Report names nothing that was left out\n{answer}"
        if answer.code == 0 and unread:
            return "wrong", f"exit 0, but {sorted(unread)} were left out"
        if faults := report_faults(answer):
            return "wrong", "the Report: " + "; ".join(faults[:5])
        target = Virtual(str(dest), form)
        if place.is_dir() and isolated(target.groups) != ["/"]:
            verdict = isolated(compare_groups, [str(path) for path in sources], str(dest), form, "time")
        elif place.is_dir():
            verdict = isolated(compare_series, [str(path) for path in sources], target)
        else:
            verdict = isolated(compare_file, str(place), target, tuple(unread), REFERENCE_WRONG.get(source, ()), attributes)
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
        return "wrong", f"the stock reader cannot read it: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def opens_in_xarray(path) -> bool:
    """Whether xarray reads every value of it."""
    import xarray

    try:
        found = [xarray.open_dataset(path, engine="netcdf4", group=group) for group in groups_of(path)]
        if sum(data.nbytes for data in found) > MAX_COMPARED_BYTES:
            return False
        return sum(len(data.load().variables) for data in found) > 0
    except Exception:  # Whatever it is, it does not read it.
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description="open equals source, over the corpus, for virtual datasets")
    parser.add_argument("--match", default="")
    parser.add_argument("--format", choices=FORMATS, action="append")
    arguments = parser.parse_args()
    counts, table = collections.Counter(), []
    for form in arguments.format or FORMATS:
        for source in [*single_sources(), *series_sources()]:
            if arguments.match in source:
                outcome, why = judge(source, form)
                counts[form, outcome] += 1
                if outcome == "refused" and refusals().get(source, ("",))[0] != "refused":
                    table.append(f"{source}\t{form}\t{why[:200]}")
                elif outcome == "wrong" or outcome == "partly":
                    print(f"{outcome:9}{form} {source}\n    " + "\n    ".join(why.splitlines()[:8]), flush=True)
    print("\n# virtual_refusals.tsv as it is now (read each line before you keep it)\n" + "\n".join(table))
    for (form, outcome), n in sorted(counts.items()):
        print(f"{form:18}{outcome:10}{n}")
    return 1 if any(outcome == "wrong" for _, outcome in counts) else 0


if __name__ == "__main__":
    sys.exit(main())
