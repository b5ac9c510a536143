#!/usr/bin/env python3
"""A stand-in for frazil that is right, or wrong in one chosen way (`$STAND_IN`): the judges are judged with it.

`inspect` answers from the corpus's own answer key; `convert` is what people write today with xarray. It promises
nothing about data: a judge that cannot tell its faults from right answers is no judge.
"""

import json
import os
import pathlib
import sys
import time

FAULT = os.environ.get("STAND_IN", "")


def report(verb, code=0, items=(), message=None, sources=()):
    error = message and {"code": "stand-in.refused", "message": f"`{sources[0]}`: {message}", "cause": None,
                         "hint": None, "location": str(sources[0]), "exit": code}
    print(json.dumps({"schema": f"frazil.{verb}/1", "ok": code == 0, "dry_run": False, "seconds": 0.0, "totals": {},
                      "items": list(items), "warnings": [], "error": error}))
    if message:
        print(f"error: `{sources[0]}`: {message}", file=sys.stderr)
    return code


def inspect(paths):
    corpus = pathlib.Path(os.environ["FRAZIL_CORPUS"]).resolve()
    path = str(pathlib.Path(paths[0]).resolve().relative_to(corpus))
    entry = {}
    for line in open(corpus / "EXPECTED.jsonl", encoding="utf-8"):
        if json.dumps(path)[1:-1] in line:
            entry.update(json.loads(line))
    if FAULT == "panic":
        print("thread 'main' panicked at src/main.rs:1", file=sys.stderr)
        return 101
    if FAULT == "abort":
        os.abort()
    if FAULT == "slow":
        time.sleep(11)
    if FAULT == "memory":
        hog = bytearray(600 << 20)
        hog[::4096] = b"x" * len(hog[::4096])
    key = {**(entry.get("h5") or {}), **(entry.get("nc3") or {})}
    if not key or "err" in key:
        if FAULT == "mute":
            return 1
        if FAULT == "nameless":
            paths = ["a file"]
        return report("inspect", 1, message=str(key.get("err", "it holds nothing")), sources=paths)
    items = []
    for name, value in key.items():
        item = {"source": paths[0], "path": name, "shape": value.get("shape"), "dtype": value.get("dtype", "?")}
        if "sha" in value:
            # The answer key holds the first half of each digest; the judge compares that half.
            item["digest"] = "sha256:" + value["sha"] + "0" * 32
        else:
            item["unread"] = "not read by the stand-in"
        items.append(item)
    with_digest = [item for item in items if "digest" in item]
    if FAULT == "digest" and with_digest:
        with_digest[-1]["digest"] = "sha256:" + "f" * 64
    if FAULT == "missing":
        items.pop()
    if FAULT == "unread" and with_digest:
        del with_digest[0]["digest"]
        with_digest[0]["unread"] = "too hard"
    return report("inspect", items=items, sources=paths)


def convert(words):
    import warnings

    import xarray

    warnings.simplefilter("ignore")
    sources, options, flags = [], {}, set()
    while words:
        word = words.pop(0)
        if word in ("--json", "--overwrite", "-n"):
            flags.add(word)
        elif word.startswith("--"):
            options[word] = words.pop(0)
        else:
            sources.append(word)
    dest = sources.pop()
    try:
        if len(sources) == 1:
            data = xarray.open_dataset(sources[0], engine="netcdf4", decode_cf=False)
        elif FAULT == "file-by-file":
            from series import expected_series, settle_attributes

            data, owners = expected_series(sources)
            settle_attributes(data, xarray.Dataset(), owners)
            for variable in data.variables.values():
                kept = {"units": "seconds since 2000-01-01", "calendar": variable.encoding.get("calendar")}
                variable.encoding = kept if kept["calendar"] else {}
        else:
            data = xarray.open_mfdataset(sorted(sources), engine="netcdf4", combine="by_coords")
        if FAULT != "nan-fill":
            for variable in data.variables.values():
                if "_FillValue" not in variable.attrs:
                    variable.encoding.setdefault("_FillValue", None)
        data.to_zarr(dest, mode="w", zarr_format=int(options.get("--zarr-format", 3)), consolidated=True)
    except Exception as error:
        return report("convert", 1, message=f"{type(error).__name__}: {str(error)[:200]}", sources=sources)
    return report("convert", sources=sources)


def build(words):
    """As most people do it: everything is written again, in place, with no journal and no lock."""
    import glob
    import pathlib

    import yaml

    recipe = yaml.safe_load((pathlib.Path(words[0]) / "feedstock" / "recipe.yaml").read_text())
    dest = words[words.index("--to") + 1]
    zarr = recipe["write"]["zarr"]
    return convert([*sorted(glob.glob(recipe["sources"]["f"]["glob"])), dest, "--zarr-format", str(zarr["format"])])


def main():
    words = sys.argv[1:]
    verb = words.pop(0) if words else ""
    if verb == "inspect":
        return inspect([word for word in words if not word.startswith("--")])
    if verb == "convert":
        return convert(words)
    if verb == "build":
        return build(words)
    print(f"error: the stand-in has no `{verb}`", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
