"""Sixty keys that a bucket may hold and that do harm, or are lost, when they are taken for paths.

It promises to know which of them can be a file below a folder, and under which name.
"""

import pathlib

KEYS = [
    # Out of the folder.
    "../up", "a/../../up2", "..", "a/..", "x/../y", "../../../../../../tmp/judge-escape", "a/b/../../../c", "..\\win", "./../z", "...", "..hidden/x", "a..b/c",
    # From the root.
    "/absolute", "/tmp/judge-absolute", "//double", "///triple", "~", "~root/x", "C:\\x", "file:///x",
    # Segments that vanish.
    "a//b", "a///b", "./dot", "dot/./dot", "dot/.", "tail/", "tail2//", "deep/tail/", " ", " lead", "trail ", "trail./x.",
    # Characters that something gives a meaning to.
    "plus+", "per%cent", "%2F", "%2e%2e/x", "back\\slash", "new\nline", "tab\there", "carriage\rreturn", "bell\x07", "quote'\"`", "amp&<>]]>", "q?a=1&b=2#frag", "*", "[a-z]{x}", "$HOME", "-rf", "semi;colon|pipe",
    "a=b", "at@host:path", "comma,", "NAME:bucket",
    # Letters.
    "\u00fc", "u\u0308", "\u6f22\u5b57/\U0001f9ca", "\u202eltr", "\ufeffbom", "\u2028line", "CASE", "case",
    # Lengths, and one name for a file and a folder.
    "n" * 255, "n" * 256 + "/x", "d/" * 500 + "deep", "long/" + "m" * 1019, "both", "both/below",
]
MAX_SEGMENT_BYTES = 255


def is_path(key: str) -> bool:
    """Whether a file of this name can lie below a folder, as it is spelled."""
    segments = key.split("/")
    return all(segment not in ("", ".", "..") and len(segment.encode()) <= MAX_SEGMENT_BYTES for segment in segments) and "\0" not in key


def clashes(keys) -> set[str]:
    """Keys of which only one can be a file, since another of them needs a folder of that name."""
    folders = {"/".join(key.split("/")[:n]) for key in keys if is_path(key) for n in range(1, key.count("/") + 1)}
    return {key for key in keys if key in folders or any(key.startswith(other + "/") for other in keys if other in folders and is_path(other))}


def bytes_of(key: str) -> bytes:
    """What lies under this key: its own name, so that a mix-up shows."""
    return f"this is {key!r}".encode()


def named(text: str, key: str) -> bool:
    """Whether a message names `key`, spelled plainly or escaped in one of the usual ways."""
    import json
    import urllib.parse

    plain = key.encode("unicode_escape").decode()
    spellings = {key, plain, repr(key)[1:-1], json.dumps(key)[1:-1], json.dumps(key, ensure_ascii=False)[1:-1], urllib.parse.quote(key), urllib.parse.quote(key, safe="")}
    # What is long may be cut in the middle.
    spellings |= {spelling[:60] for spelling in spellings if len(spelling) > 200}
    return any(spelling in text for spelling in spellings)


def local(folder: pathlib.Path) -> list[str]:
    """Writes the keys that are paths as files below `folder`, without those that clash; answers them."""
    names = [key for key in KEYS if is_path(key) and key not in clashes(KEYS)]
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes_of(name))
    return names
