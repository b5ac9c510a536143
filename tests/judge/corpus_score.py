#!/usr/bin/env python3
"""The score over the corpus of real files: what `frazil inspect --digest` answers against what the references read.

It promises one verdict per row of the corpus and a reason for each failure. It needs only Python's standard library.
It does not know formats: the corpus brings its own answer key (EXPECTED.jsonl).

    python3 tests/judge/corpus_score.py [--json] [--category hdf5] [--match PART_OF_PATH] [--workers 2]
"""

import argparse
import collections
import concurrent.futures
import csv
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from command import CORPUS, Answer, frazil  # noqa: E402

CATEGORIES = ["hdf5", "netcdf4", "netcdf3", "malformed-hdf5"]
MAX_SECONDS = 10
MAX_RSS_BYTES = 512 << 20

# Filters for which no kept decoder exists, as facts about the world. A variable of a file that the manifest says uses
# one of them may stay unread where the reference reads it, if its reason says `filter`.
FILTERS_WITHOUT_DECODER = re.compile(
    r"filters (\S+\+)?(zfp|sz|sz3|jpeg|fcidecomp|mafisc|32028|bitgroom|granularbr|blosc2|lzo)\b"
)


def rows(categories, match="") -> list[dict]:
    """The rows of the manifest, each with its answer key under `key`."""
    keys = collections.defaultdict(dict)
    with open(CORPUS / "EXPECTED.jsonl", encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line)
            keys[entry["path"]].update(entry)
    with open(CORPUS / "MANIFEST.tsv", encoding="utf-8", newline="") as file:
        found = [dict(row) for row in csv.DictReader(file, delimiter="\t")]
    found = [row for row in found if row["category"] in categories and match in row["path"]]
    for row in found:
        entry = keys[row["path"]]
        row["key"] = {**(entry.get("h5") or {}), **(entry.get("nc3") or {})}
        row["outcome"] = re.match("[A-Z]+", row["expected_outcome"])[0]
    return found


def items(answer: Answer) -> dict[str, dict]:
    """The variables of a Report by their path."""
    found = {}
    for item in (answer.report or {}).get("items") or []:
        if isinstance(item, dict) and "path" in item:
            found["/" + str(item["path"]).lstrip("/")] = item
    return found


def disagreements(row: dict, answer: Answer) -> tuple[list[str], int, int, int]:
    """What differs from the answer key, and how many digests agree, are asked for, or are unread behind a filter."""
    found, wrong = items(answer), []
    n_right = n_asked = n_excused = 0
    for path, expected in row["key"].items():
        if not isinstance(expected, dict) or expected.get("kind") in ("SoftLink", "ExternalLink"):
            continue
        item = found.get("/" + path.lstrip("/"))
        if item is None:
            # Without a digest there is nothing to compare, but it must be named all the same.
            n_asked += "sha" in expected
            wrong.append(f"{path}: neither listed nor named as unread")
        elif "sha" in expected:
            n_asked += 1
            digest, unread = str(item.get("digest") or ""), str(item.get("unread") or "")
            if digest.removeprefix("sha256:")[:32] == expected["sha"] and re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
                n_right += 1
                if "shape" in expected and item.get("shape") is not None and list(item["shape"]) != expected["shape"]:
                    wrong.append(f"{path}: shape {item['shape']}, expected {expected['shape']}")
            elif digest:
                wrong.append(f"{path}: digest {digest[:24]}…, expected {expected['sha'][:16]}… ({expected.get('dtype', expected.get('kind'))})")
            elif "its length follows from files" in unread and expected.get("kind") == "num":
                # A virtual dataset without end, over files that are not in the corpus: frazil cannot know its shape.
                n_excused += 1
            elif "filter" in unread.lower() and FILTERS_WITHOUT_DECODER.search(row["exercises"]):
                n_excused += 1
            else:
                wrong.append(f"{path}: unread ({unread or 'no reason'}), the reference reads it")
        elif not item.get("digest") and not item.get("unread") and "err" in expected:
            wrong.append(f"{path}: no digest and no reason; the reference says {str(expected['err'])[:60]}")
    return wrong, n_right, n_asked, n_excused


def names_its_reason(row: dict, answer: Answer) -> str | None:
    """Why a refusal is not a clear one, or None if it is."""
    error = (answer.report or {}).get("error") or {}
    unread = [item for item in items(answer).values() if item.get("unread")]
    listed = [item for item in (answer.report or {}).get("items") or [] if isinstance(item, dict) and item.get("unread")]
    if not error and not unread and not listed:
        return "refused without an error in the Report"
    text = json.dumps(error, ensure_ascii=False) + answer.err + json.dumps(listed, ensure_ascii=False)
    if pathlib.Path(row["path"]).name not in text:
        return "the refusal does not name the file"
    if error and not (error.get("message") and error.get("code")):
        return "the error has no message or no code"
    return None


def judge(row: dict) -> dict:
    """One verdict: `{path, outcome, ok, reasons, n_right, n_asked, n_excused, seconds, rss_bytes}`."""
    answer = frazil("inspect", CORPUS / row["path"], "--digest", "--json", timeout=MAX_SECONDS * 3)
    reasons, n_right, n_asked, n_excused = [], 0, 0, 0
    crash = answer.crash()
    if crash:
        reasons.append(crash)
        n_asked = sum(isinstance(v, dict) and "sha" in v for v in row["key"].values())
    elif answer.report is None:
        reasons.append(f"stdout is not one JSON Report (exit {answer.code}): {answer.text.strip()[:120]}")
    else:
        wrong, n_right, n_asked, n_excused = disagreements(row, answer)
        refused = answer.code not in (0, 3)
        if row["outcome"] in ("OPENS", "PARTIAL"):
            reasons += [f"exit {answer.code}: {((answer.report.get('error') or {}).get('message') or answer.err)[:160]}"] * refused
            reasons += wrong[:20] + [f"… and {len(wrong) - 20} more"] * (len(wrong) > 20)
        elif row["outcome"] == "REFUSE":
            # `or decode it`: then what the reference could read must agree.
            reasons += [names_its_reason(row, answer)] if refused else wrong
        elif refused:
            reasons.append(names_its_reason(row, answer))
    # Every file must be cheap; the hostile ones are those for which it is a promise.
    if row["outcome"] == "SURVIVE" or row["category"].startswith("malformed"):
        if answer.seconds > MAX_SECONDS:
            reasons.append(f"{answer.seconds:.1f} s; {MAX_SECONDS} s is the most")
        if answer.rss_bytes > MAX_RSS_BYTES:
            reasons.append(f"{answer.rss_bytes >> 20} MiB; {MAX_RSS_BYTES >> 20} MiB is the most")
    reasons = [reason for reason in reasons if reason]
    return {
        "path": row["path"], "category": row["category"], "outcome": row["outcome"], "ok": not reasons,
        "reasons": reasons, "n_right": n_right, "n_asked": n_asked, "n_excused": n_excused,
        "seconds": round(answer.seconds, 3), "rss_bytes": answer.rss_bytes,
    }


def score(categories=tuple(CATEGORIES), match="", workers=2) -> list[dict]:
    """The verdicts over every row of `categories`."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(judge, rows(categories, match)))


def lines(verdicts: list[dict]) -> list[str]:
    """One line per category, for people."""
    shown = []
    for category in CATEGORIES:
        here = [verdict for verdict in verdicts if verdict["category"] == category]
        if not here:
            continue
        parts = []
        for outcome in ("OPENS", "PARTIAL", "REFUSE", "SURVIVE"):
            group = [verdict for verdict in here if verdict["outcome"] == outcome]
            if group:
                parts.append(f"{outcome} {sum(v['ok'] for v in group)}/{len(group)}")
        right, asked, excused = (sum(v[k] for v in here) for k in ("n_right", "n_asked", "n_excused"))
        unread = f", {excused} named as unread (a filter without decoder, or a virtual dataset without end)" if excused else ""
        slowest, largest = max(v["seconds"] for v in here), max(v["rss_bytes"] for v in here) >> 20
        shown.append(
            f"corpus score {category}: {sum(v['ok'] for v in here)}/{len(here)} rows ({', '.join(parts)}), "
            f"digests {right}/{asked}{unread}, slowest {slowest:.1f} s, largest {largest} MiB"
        )
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description="the corpus score")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--category", action="append", choices=CATEGORIES)
    parser.add_argument("--match", default="", help="only paths that hold these letters")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--failures", type=int, default=60, help="how many failing rows to show")
    arguments = parser.parse_args()
    if not (CORPUS / "MANIFEST.tsv").exists():
        print(f"corpus score: no corpus at {CORPUS}; nothing was scored")
        return 0
    verdicts = score(arguments.category or CATEGORIES, arguments.match, arguments.workers)
    failures = [verdict for verdict in verdicts if not verdict["ok"]]
    if arguments.json:
        print(json.dumps({"lines": lines(verdicts), "verdicts": verdicts}, ensure_ascii=False))
    else:
        for verdict in failures[: arguments.failures]:
            print(f"FAIL {verdict['outcome']:8}{verdict['path']}")
            for reason in verdict["reasons"][:6]:
                print(f"         {reason[:240]}")
        if len(failures) > arguments.failures:
            print(f"… and {len(failures) - arguments.failures} more failing rows")
        print("\n".join(lines(verdicts)))
    return 1 if failures or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
