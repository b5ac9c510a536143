"""The two ways a torture case may end: the right values, or a refusal that names file, variable and rule.

It promises that nothing else passes: no half store, no vague refusal, no value that stock xarray sees otherwise.
"""

import hashlib
import pathlib
import re

from command import Answer, frazil
from same import isolated, open_store
from series import compare_series


def tree(store) -> dict[str, str]:
    """Every file below `store` with the digest of its bytes; folders that hold nothing count as well."""
    store = pathlib.Path(store)
    found = {}
    for path in sorted(store.rglob("*")):
        name = str(path.relative_to(store))
        if path.is_symlink():
            found[name] = "link"
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def stamps(store) -> dict[str, tuple]:
    """What a rewrite would change even if the bytes were equal: inode, time of change, length."""
    store = pathlib.Path(store)
    found = {}
    for path in [store, *sorted(store.rglob("*"))]:
        status = path.lstat()
        found[str(path.relative_to(store))] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


def tree_differences(expected: dict, found: dict) -> list[str]:
    wrong = [f"lost: {name}" for name in expected if name not in found]
    wrong += [f"stray: {name}" for name in found if name not in expected]
    return wrong + [f"other bytes: {name}" for name in expected if name in found and found[name] != expected[name]]


def is_visible(store) -> bool:
    """Whether a reader who comes through the root sees a dataset."""
    return any((pathlib.Path(store) / name).exists() for name in ("zarr.json", ".zmetadata"))


def convert(sources, dest, *flags, zarr_format=3, **options) -> Answer:
    """`frazil convert` with the words that all tests share."""
    return frazil("convert", *sources, dest, "--to", "zarr", "--zarr-format", zarr_format, "--json", *flags, **options)


def assert_equal(answer: Answer, sources, dest, along="time") -> None:
    """The only pass where a lossless rule covers the case."""
    assert answer.crash() is None, f"{answer.crash()}\n{answer}"
    assert answer.code == 0, str(answer)
    verdict = isolated(compare_series, [str(source) for source in sources], str(dest), along)
    assert verdict.uncomparable is None, verdict.uncomparable
    assert not verdict.differences, str(verdict)


def assert_refused(answer: Answer, dest, file, variable, rule: str) -> None:
    """The only pass where no lossless rule covers the case. `file` may be several names, one of which must appear;
    `rule` is a regular expression that the words of the error must match."""
    assert answer.crash() is None, f"{answer.crash()}\n{answer}"
    assert answer.code == 1, f"expected a refusal (exit 1)\n{answer}"
    error = (answer.report or {}).get("error") or {}
    assert error.get("code") and error.get("message"), f"no error in the Report\n{answer}"
    assert error.get("exit", 1) == 1, f"the Report says exit {error['exit']}"
    words = " ".join(str(error.get(key) or "") for key in ("code", "message", "cause", "hint", "location"))
    names = [file] if isinstance(file, str) else list(file)
    assert any(name in words for name in names), f"the error names none of {names}\n{answer}"
    assert variable is None or re.search(rf"\b{re.escape(variable)}\b", words), f"the error does not name `{variable}`\n{answer}"
    assert re.search(rule, words, re.I), f"the error does not name the rule /{rule}/\n{answer}"
    assert not is_visible(dest), "a refused store can be opened"


def assert_equal_or_refused(answer, sources, dest, file, variable, rule) -> None:
    """Where the house has not promised to join, but may if nothing changes."""
    if answer.code == 0:
        assert_equal(answer, sources, dest)
    else:
        assert_refused(answer, dest, file, variable, rule)


def opens(store) -> dict[str, str]:
    """Each variable's bytes as a digest, through stock xarray and the root's consolidated metadata."""
    return isolated(_opens, str(store))


def _opens(store):
    data = open_store(store, decode_cf=False).load()
    found = {name: hashlib.sha256(variable.values.tobytes()).hexdigest() for name, variable in data.variables.items()}
    found["(shape)"] = repr(dict(data.sizes))
    return found
