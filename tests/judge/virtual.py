"""Virtual datasets as stock readers see them: icechunk-python, and kerchunk's references through fsspec.

It promises that what is compared is what xarray opened, never what frazil says of it. An Icechunk repository and fsspec
run threads of their own, which no fork survives: whoever opens one here does it through `same.isolated`.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import subprocess

import numpy as np
import xarray as xr

from command import Answer, frazil
from make import MANY
from make import make as small_make
from make import pair as small_pair
from same import Verdict, isolated, open_store, value_differences
from series import compare_series, expected_series

# It warns of every repository on a disk; ours has one reader at a time.
os.environ.setdefault("ICECHUNK_LOG", "error")

FORMATS = ["icechunk", "kerchunk-json", "kerchunk-parquet"]
MAX_SHOWN_WORDS = 1500


@dataclasses.dataclass(frozen=True)
class Virtual:
    """A virtual dataset at `place`, which `same.py` opens like a Zarr store. `group` is one of its eras."""

    place: str
    format: str
    group: str = "/"

    def opened(self, group=None) -> tuple:
        """What xarray is given for a group, and with which words. References are opened at their root as `engine="kerchunk"`
        does it; a group of them is found through the consolidated metadata alone, and is empty without a word otherwise."""
        if self.format == "icechunk":
            return repository(self.place).readonly_session("main").store, {"consolidated": False, "zarr_format": 3}
        return references(self.place), {"consolidated": self.below(group) is not None, "zarr_format": 2}

    def below(self, group) -> str | None:
        """A group of the source, below the group of this era."""
        path = f"{self.group.rstrip('/')}/{(group or '').strip('/')}".strip("/")
        return path or None

    def groups(self) -> list[str]:
        """Every group by its path, from the metadata itself: stock listings of references do not go deep."""
        if self.format == "icechunk":
            import zarr

            root = zarr.open_group(self.opened()[0], mode="r")
            return ["/", *sorted("/" + name for name, member in root.members(max_depth=None) if isinstance(member, zarr.Group))]
        names = references_of(self.place)
        return sorted("/" + name.removesuffix(".zgroup").strip("/") for name in names if name.rsplit("/", 1)[-1] == ".zgroup")


def storage(place: str, env=None):
    """The storage of a repository on this disk, or in a bucket of the gateway that `env` names."""
    import icechunk

    if not str(place).startswith("s3://"):
        return icechunk.local_filesystem_storage(str(place))
    bucket, _, prefix = str(place).removeprefix("s3://").partition("/")
    return icechunk.s3_storage(
        bucket=bucket, prefix=prefix, endpoint_url=env["AWS_ENDPOINT_URL"], allow_http=True, force_path_style=True, region="us-east-1",
        access_key_id=env["AWS_ACCESS_KEY_ID"], secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )


def repository(place: str, env=None):
    """Opens it as the Icechunk documentation says: each container that its own configuration names is authorised."""
    import icechunk

    at = storage(place, env)
    config = icechunk.Repository.fetch_config(at)
    assert config is not None, f"{place} has no config.yaml"
    containers = config.virtual_chunk_containers or {}
    credentials = {}
    for prefix in containers:
        keys = None
        if prefix.startswith("s3://"):
            keys = icechunk.s3_static_credentials(access_key_id=env["AWS_ACCESS_KEY_ID"], secret_access_key=env["AWS_SECRET_ACCESS_KEY"]) if env else icechunk.s3_anonymous_credentials()
        credentials[prefix] = keys
    return icechunk.Repository.open(at, authorize_virtual_chunk_access=icechunk.containers_credentials(credentials))


def references(place: str):
    """The store that kerchunk makes of references to files of this disk. Who does not name the protocol has fsspec look for
    it in all references, and tables with groups break that."""
    from kerchunk.utils import refs_as_store

    return refs_as_store(str(place), read_only=True, remote_protocol="file")


def references_of(place: str) -> dict:
    """The metadata, and for JSON every reference, by key."""
    place = pathlib.Path(place)
    if place.is_dir():
        return json.loads((place / ".zmetadata").read_text())["metadata"]
    content = json.loads(place.read_text())
    assert content.get("version") == 1, "kerchunk's version 1"
    return content["refs"]


def is_there(dest) -> bool:
    """Whether a reader who comes to `dest` finds a dataset of any format."""
    dest = pathlib.Path(dest)
    if dest.is_file():
        return True
    return (dest / ".zmetadata").exists() or (dest / "zarr.json").exists() or any((dest / "refs").rglob("ref*.json"))


def suffix(form: str) -> str:
    return {"icechunk": "icechunk", "kerchunk-json": "json", "kerchunk-parquet": "parq"}[form]


def place_in(folder, form: str) -> pathlib.Path:
    return pathlib.Path(folder) / f"virtual.{suffix(form)}"


def convert(sources, dest, form: str, *flags, **options) -> Answer:
    """`frazil convert --to virtual` with the words that all tests share. Files of tests are small: unless a test says
    otherwise no chunk is too small to be referenced."""
    inline = () if "--inline" in flags else ("--inline", "1B")
    return frazil("convert", *sources, dest, "--to", "virtual", "--format", form, "--json", *inline, *flags, **options)


def recipe(folder, glob, form="icechunk", mode="extend", write="", combine="") -> pathlib.Path:
    """A feedstock whose result is virtual. As in `convert`, no chunk is too small unless `write` says so."""
    write = write if "inline" in write else "inline: {below: 1B}" + (", " + write if write else "")
    folder = pathlib.Path(folder)
    (folder / "feedstock").mkdir(parents=True, exist_ok=True)
    (folder / "feedstock" / "recipe.yaml").write_text(
        f'recipe: 1\nid: made\nsources:\n  f: {{glob: "{glob}"}}\ncombine: {{along: time{", " + combine if combine else ""}}}\n'
        f"write:\n  virtual: {{format: {form}, mode: {mode}{', ' + write if write else ''}}}\n",
        encoding="utf-8",
    )
    return folder


# Files whose fields are too large to be held along with their structure: what is small need not be referenced at all.

def make(path, times, **odd) -> pathlib.Path:
    """A file of `make.py` on a grid of 60 by 80."""
    return small_make(path, times, **{**MANY, **odd})


def pair(folder, first=None, second=None):
    return small_pair(folder, {**MANY, **(first or {})}, {**MANY, **(second or {})})


# What a reader sees, as something that can be compared.

def view(place, form: str, env=None) -> dict | None:
    """Each variable's bytes as a digest, in every group; None where there is no dataset."""
    if env is None and not is_there(place):
        return None
    return isolated(_view, str(place), form, env)


def _view(place, form, env):
    target = Virtual(place, form)
    found = {}
    stored = repository(place, env).readonly_session("main").store if env else None
    for group in ["/"] if env else target.groups():
        data = xr.open_dataset(stored, engine="zarr", consolidated=False, decode_cf=False) if env else open_store(target, group=group, decode_cf=False)
        for name, variable in data.load().variables.items():
            found[f"{group} {name}"] = hashlib.sha256(np.ascontiguousarray(variable.values).tobytes()).hexdigest() + repr(variable.shape)
    return found


def versions(place, env=None) -> list[tuple[str, str]]:
    """The snapshots of branch `main`, newest first: (id, message)."""
    return isolated(_versions, str(place), env)


def _versions(place, env):
    return [(snapshot.id, snapshot.message) for snapshot in repository(place, env).ancestry(branch="main")]


def labels(place, env=None, name="time") -> list:
    """The values of a coordinate, as stored."""
    return isolated(_labels, str(place), env, name)


def _labels(place, env, name):
    data = xr.open_dataset(repository(place, env).readonly_session("main").store, engine="zarr", consolidated=False, decode_times=False)
    return data[name].values.tolist()


# Verdicts.

def compare_groups(paths, place: str, form: str, along: str) -> Verdict:
    """Files of several eras against the groups they were split into: every file is found, whole and right, in exactly one
    group, and no group holds a label that no file has."""
    verdict = Verdict()
    target = Virtual(place, form)
    eras = [group for group in target.groups() if along in open_store(Virtual(place, form), group=group, decode_cf=False).variables]
    if not eras:
        verdict.differences.append(f"no group has `{along}`")
        return verdict
    owners = {path: [] for path in paths}
    sources = {path: xr.open_dataset(path, engine="netcdf4").load() for path in paths}
    for group in eras:
        found = open_store(target, group=group).load()
        mine = []
        for path, source in sources.items():
            if covers(found, source, along) and not file_differences(source, found, along):
                mine.append(path)
        for path in mine:
            owners[path].append(group)
        n_labels = sum(sources[path].sizes[along] for path in mine)
        if n_labels != found.sizes[along]:
            verdict.differences.append(f"{group}: {found.sizes[along]} labels, and the files that it equals ({[pathlib.Path(p).name for p in mine]}) have {n_labels}")
    for path, groups in owners.items():
        if len(groups) != 1:
            verdict.differences.append(f"{pathlib.Path(path).name} equals what {len(groups)} groups hold of it: {groups} of {eras}")
    return verdict


def covers(found, source, along) -> bool:
    return all(value in found[along].values for value in np.atleast_1d(source[along].values))


def file_differences(source, found, along) -> list[str]:
    """The part of a group that has this file's labels, against the file. What files of an era may differ in does not count."""
    part = found.sel({along: source[along].values})
    wrong = []
    for name, variable in source.variables.items():
        if name not in part.variables:
            wrong.append(f"{name}: lost")
            continue
        seen = part[name].variable
        if set(seen.dims) != set(variable.dims):
            wrong.append(f"{name}: dimensions {seen.dims}")
            continue
        wrong += value_differences(name, variable.values, seen.transpose(*variable.dims).values)
        for key in ("units", "calendar"):
            one, two = variable.attrs.get(key), seen.attrs.get(key)
            if one != two:
                wrong.append(f"{name}: `{key}` is {two!r}, expected {one!r}")
    return wrong


def verdict_of(sources, dest, form: str, along="time") -> str:
    """`joined` or `split`, whichever it is and right; else what is wrong."""
    paths = [str(source) for source in sources]
    groups = isolated(Virtual(str(dest), form).groups)
    if groups == ["/"]:
        verdict = isolated(compare_series, paths, Virtual(str(dest), form), along)
        if verdict.uncomparable:
            return f"joined, although {verdict.uncomparable}"
        return f"joined wrongly: {verdict}" if verdict.differences else "joined"
    verdict = isolated(compare_groups, paths, str(dest), form, along)
    return f"split wrongly: {verdict}" if verdict.differences else "split"


def assert_joined(answer: Answer, sources, dest, form: str, along="time") -> None:
    """The values of all files in one dataset: the only pass where nothing that is stored stands against it."""
    assert answer.crash() is None, f"{answer.crash()}\n{answer}"
    assert answer.code == 0, str(answer)
    found = verdict_of(sources, dest, form, along)
    assert found == "joined", f"{found}\n{answer}"


def assert_right(answer: Answer, sources, dest, form: str, file, variable, rule: str, along="time") -> str:
    """Joined with the right values, split into right groups, or refused by name; answers which."""
    assert answer.crash() is None, f"{answer.crash()}\n{answer}"
    if answer.code == 0:
        found = verdict_of(sources, dest, form, along)
        assert found in ("joined", "split"), f"{found}\n{answer}"
        return found
    assert_refused(answer, dest, file, variable, rule)
    return "refused"


def assert_refused(answer: Answer, dest, file, variable, rule: str) -> None:
    """Exit 1; the error names one of the files, the variable and the rule; there is nothing to open."""
    assert answer.crash() is None, f"{answer.crash()}\n{answer}"
    assert answer.code == 1, f"expected a refusal (exit 1)\n{answer}"
    error = (answer.report or {}).get("error") or {}
    assert error.get("code") and error.get("message"), f"no error in the Report\n{answer}"
    words = " ".join(str(error.get(key) or "") for key in ("code", "message", "cause", "hint", "location"))
    names = [file] if isinstance(file, str) else list(file)
    assert any(name in words for name in names), f"the error names none of {names}\n{answer}"
    assert variable is None or re.search(rf"\b{re.escape(variable)}\b", words), f"the error does not name `{variable}`\n{answer}"
    assert re.search(rule, words, re.I), f"the error does not name the rule /{rule}/\n{answer}"
    assert not is_there(dest), "what was refused can be opened"


def report_faults(answer: Answer) -> list[str]:
    """What the Report lacks of what it promises, and where it does not agree with itself."""
    report = answer.report or {}
    totals, items = report.get("totals") or {}, report.get("items") or []
    faults = [f"totals lack `{name}`" for name in ("references", "native_chunks", "native_bytes", "inline_bytes") if not isinstance(totals.get(name), int)]
    arrays = [item for item in items if "how" in item]
    if not arrays and totals.get("arrays", 1):
        faults.append("no item says `how`")
    for item in arrays:
        faults += [f"{item.get('path')}: no `{name}`" for name in ("path", "shape", "chunks", "codecs", "native_share") if name not in item]
        if item["how"] not in ("referenced", "hybrid", "native", "inline"):
            faults.append(f"{item.get('path')}: how = {item['how']!r}")
        share = item.get("native_share") or 0
        if item["how"] == "referenced" and share != 0 or item["how"] == "native" and share != 1 or not 0 <= share <= 1:
            faults.append(f"{item.get('path')}: {item['how']} with a native share of {share}")
        if item["how"] in ("hybrid", "native") and not item.get("why"):
            faults.append(f"{item.get('path')}: {item['how']}, and no word why")
    if all(item["how"] in ("referenced", "inline") for item in arrays) and totals.get("native_chunks"):
        faults.append(f"{totals['native_chunks']} native chunks, and no array that has them")
    return faults


# Snippets.

def snippet_of(answer: Answer) -> str:
    """The lines of Python that a run printed, without their indent; comments stay."""
    lines = answer.out.splitlines()
    start = next((i for i, line in enumerate(lines) if line.strip() == "open it:"), None)
    assert start is not None, f"no snippet\n{answer}"
    found = []
    for line in lines[start + 1 :]:
        if line.strip() and not line.startswith("    "):
            break
        found.append(line[4:])
    assert any("open" in line for line in found), f"no snippet\n{answer}"
    return "\n".join(found) + "\n"


SHOW = """
import hashlib, json
_found = {}
for _name, _variable in ds.load().variables.items():
    _values = _variable.values
    _found[_name] = [str(_values.dtype.newbyteorder("=")), list(_values.shape), hashlib.sha256(_values.astype(_values.dtype.newbyteorder("=")).tobytes()).hexdigest()]
print(json.dumps(_found))
"""


def shown_by(python: str, snippet: str, env=None, cwd=None) -> dict:
    """What a fresh Python shows of `ds` after the snippet: type, shape and digest of each variable."""
    answer = subprocess.run([python, "-W", "ignore", "-c", snippet + SHOW], capture_output=True, text=True, timeout=120, env=env, cwd=cwd)
    assert answer.returncode == 0, f"the snippet fails:\n{snippet}\n{answer.stderr[-MAX_SHOWN_WORDS:]}"
    return json.loads(answer.stdout.splitlines()[-1])


def shown(data: xr.Dataset) -> dict:
    """The same of a dataset here."""
    found = {}
    for name, variable in data.load().variables.items():
        values = np.asarray(variable.values)
        values = values.astype(values.dtype.newbyteorder("="))
        found[name] = [str(values.dtype), list(values.shape), hashlib.sha256(values.tobytes()).hexdigest()]
    return found


def expected_shown(paths, along="time") -> dict:
    return isolated(_expected_shown, [str(path) for path in paths], along)


def _expected_shown(paths, along):
    return shown(expected_series(paths, along)[0])
