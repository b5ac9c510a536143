"""Whether a power cut could show a store that is not whole: reads in a trace what was synced, and in which order.

It promises that each rule is checked for every file that got its name before the document that shows the store. It
trusts the file system to keep what was synced, and nothing else.
"""

import dataclasses
import pathlib
import re

CALLS = "fsync,fdatasync,syncfs,rename,renameat,renameat2,mkdir,mkdirat"
# What shows a store; of a document of references, the place itself.
ROOTS = ("zarr.json", ".zgroup", ".zmetadata", "refs/branch.main/ref.json", "")


@dataclasses.dataclass
class Call:
    name: str
    paths: list[str]
    start: int
    end: int


def calls(log: str) -> list[Call]:
    """The calls of a trace that went well, each with the lines on which it began and ended."""
    found, open_calls = [], {}
    for number, line in enumerate(log.splitlines()):
        if match := re.match(r"(\d+)\s+<\.\.\. (\w+) resumed>.*= (-?\d+)", line):
            begun = open_calls.pop((match[1], match[2]), None)
            if begun and match[3] == "0":
                begun.end = number
                found.append(begun)
        elif match := re.match(r"(\d+)\s+(\w+)\((.*)", line):
            paths = re.findall(r'"([^"]*)"', match[3]) or re.findall(r"^\d+<([^>]*)>", match[3])
            call = Call(match[2], paths, number, number)
            if "<unfinished" in line:
                open_calls[match[1], match[2]] = call
            elif re.search(r"= 0$", line):
                found.append(call)
    return found


def faults(log: str, store: pathlib.Path) -> list[str]:
    """What a power cut could lose or show too early."""
    all_calls = calls(log)
    syncs = [call for call in all_calls if "sync" in call.name]
    renames = [call for call in all_calls if call.name.startswith("rename")]
    made = [call for call in all_calls if call.name.startswith("mkdir")]
    exchanges = [call for call in renames if {path for path in call.paths} == {str(store), str(beside(store))}]
    puts = [call for call in renames if call not in exchanges]
    # A replaced store is made beside the old one.
    place = beside(store) if exchanges else store
    roots = [call for call in puts if any(call.paths[1] == str(place / name) for name in ROOTS)]
    if not roots:
        return ["no document ever showed the store"]
    shown, wrong = roots[0], []

    def is_synced(path, after: int, before: int) -> bool:
        return any(sync.paths == [str(path)] and sync.start > after and sync.end < before for sync in syncs)

    def is_all_synced(after: int, before: int) -> bool:
        """Whether a syncfs came between, which writes bytes and names of the whole file system (syncfs(2))."""
        return any(call.name == "syncfs" and after < call.start and call.end < before for call in all_calls)

    for put in puts:
        source, target = put.paths[:2]
        # Objects that nobody sees yet may be made safe all together; the journal's word for them is checked on resuming.
        later = is_all_synced(put.end, shown.start)
        if not is_synced(source, -1, put.start) and not later:
            wrong.append(f"{target} got its name before its bytes were safe")
        if put.start < shown.start and not later and not is_synced(pathlib.Path(target).parent, put.end, shown.start):
            wrong.append(f"{target}: its name was not safe when the store was shown")
    folders = {parent for put in puts if put.start < shown.start for parent in pathlib.Path(put.paths[1]).parents}
    for call in made:
        path = pathlib.Path(call.paths[0])
        if path in folders and not is_all_synced(call.end, shown.start) and not is_synced(path.parent, call.end, shown.start):
            wrong.append(f"the folder {path} was not safe when the store was shown")
    for root in [*roots, *exchanges]:
        if not is_synced(pathlib.Path(root.paths[1]).parent, root.end, len(log)):
            wrong.append(f"{root.paths[1]} was shown, and never made safe")
    plan = next((put for put in puts if put.paths[1].endswith("/.frazil/plan.json")), None)
    chunks = [put for put in puts if ".frazil" not in pathlib.Path(put.paths[1]).parts]
    if plan and not (is_synced(place / ".frazil", plan.end, chunks[0].start) and is_synced(place, plan.end, chunks[0].start)):
        wrong.append("the first chunk was put before the plan was safe")
    return wrong


def beside(store: pathlib.Path) -> pathlib.Path:
    return store.with_name(f".{store.name}.frazil-new")
