"""Open equals source: does stock xarray see in a Zarr store what it sees in the source?

It promises a list of differences, empty only if variables, coordinates, dimensions, dtypes, values (bit for bit, NaN
for NaN), times, calendars, attributes and stored values agree. Where Zarr cannot say what netCDF says, a rule with a
name allows the difference, and the verdict lists that name. It does not know how the store was made.
"""

import dataclasses
import os
import pickle
import traceback
import warnings

import hdf5plugin

# Before the C library is loaded: it then reads what is compressed by the filters of these plugins.
os.environ["HDF5_PLUGIN_PATH"] = hdf5plugin.PLUGIN_PATH

import cftime  # noqa: E402, F401
import dask  # noqa: E402, F401
import h5py
import netCDF4  # noqa: E402
import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402
import zarr  # noqa: E402, F401

warnings.simplefilter("ignore")
# Everything is imported here, once: each comparison runs in a fork of this process.
xr.backends.list_engines()

# Attributes whose numbers are counts.
OF_COUNTS = ["valid_min", "valid_max", "valid_range", "flag_values", "flag_masks"]
# What xarray moves from the attributes to the encoding when it decodes: it must come back unchanged.
ENCODED = ["scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned", "units", "calendar", "coordinates"]
MAX_SHOWN = 12
# More than this is not loaded: some files declare arrays that no machine holds.
MAX_COMPARED_BYTES = 1 << 30


@dataclasses.dataclass
class Verdict:
    """Differences (none: equal), the names of the rules that were needed, and why nothing could be compared."""

    differences: list = dataclasses.field(default_factory=list)
    rules: set = dataclasses.field(default_factory=set)
    uncomparable: str | None = None

    def __str__(self):
        return "\n".join(map(str, self.differences[:MAX_SHOWN])) or self.uncomparable or "equal"


def plain(value):
    """An attribute as JSON can say it: numpy types gone, floats exact, one-element arrays as their element."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray | list | tuple):
        values = [plain(item) for item in np.asarray(value).ravel().tolist()] if not isinstance(value, list | tuple) else [plain(item) for item in value]
        return values[0] if len(values) == 1 else values
    if isinstance(value, np.generic):
        return plain(value.item())
    return value


def same_plain(one, two) -> bool:
    """Equal in class and value; NaN equals NaN; 1 is not 1.0."""
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same_plain, one, two))
    if type(one) is not type(two):
        return False
    if isinstance(one, float) and one != one and two != two:
        return True
    return one == two


def is_text(array) -> bool:
    """Whether the elements are text: fixed, variable-length or numpy's own strings."""
    if array.dtype.kind in "SUT":
        return True
    return array.dtype.kind == "O" and all(isinstance(item, str | bytes) for item in np.asarray(array).ravel()[:100])


def as_text(array) -> list[str]:
    found = []
    for item in np.asarray(array).ravel().tolist():
        item = item.decode("utf-8", "surrogateescape") if isinstance(item, bytes) else str(item)
        found.append(item.rstrip("\0"))
    return found


def value_differences(name, expected, found) -> list[str]:
    """How two arrays differ: dtype (byte order aside), shape, first differing element."""
    expected, found = np.asarray(expected), np.asarray(found)
    if expected.shape != found.shape:
        return [f"{name}: shape {found.shape}, expected {expected.shape}"]
    if expected.size and is_text(expected) and is_text(found):
        one, two = as_text(expected), as_text(found)
        at = next((i for i, pair in enumerate(zip(one, two)) if pair[0] != pair[1]), None)
        return [] if at is None else [f"{name}: text {two[at]!r} at {at}, expected {one[at]!r}"]
    if not expected.size and {expected.dtype.kind, found.dtype.kind} <= set("OSUT"):
        return []
    if expected.dtype.names == ("r", "i") and found.dtype.kind == "c":
        # The netCDF library knows no complex numbers; h5py writes them so.
        return value_differences(name, (expected["r"] + 1j * expected["i"]).astype(found.dtype), found)
    if expected.dtype.names and expected.dtype.names == found.dtype.names:
        # Padding between the fields of a compound is no value.
        return [line for field in expected.dtype.names for line in value_differences(f"{name}.{field}", expected[field], found[field])]
    if expected.dtype.newbyteorder("=") != found.dtype.newbyteorder("="):
        return [f"{name}: dtype {found.dtype}, expected {expected.dtype}"]
    if expected.dtype.kind == "O":
        wrong = np.array([not same_object(a, b) for a, b in zip(expected.ravel(), found.ravel())], bool)
    else:
        one = np.ascontiguousarray(expected.astype(expected.dtype.newbyteorder("="))).ravel()
        two = np.ascontiguousarray(found.astype(found.dtype.newbyteorder("="))).ravel()
        width = one.dtype.itemsize
        wrong = (one.view(np.uint8).reshape(-1, width) != two.view(np.uint8).reshape(-1, width)).any(axis=1)
        if one.dtype.kind in "fcmM":
            missing = np.isnat if one.dtype.kind in "mM" else np.isnan
            wrong &= ~(missing(one) & missing(two))
    if not wrong.any():
        return []
    at = int(np.flatnonzero(wrong)[0])
    place = tuple(int(i) for i in np.unravel_index(at, expected.shape)) if expected.shape else ()
    return [f"{name}: {int(wrong.sum())} of {expected.size} values differ, first at {place}: {found.ravel()[at]!r}, expected {expected.ravel()[at]!r}"]


def same_object(one, two) -> bool:
    """Times of a calendar (cftime) agree in calendar and in every part; others by equality."""
    if hasattr(one, "calendar") and hasattr(two, "calendar"):
        return one.calendar == two.calendar and one == two
    if isinstance(one, np.ndarray):
        return not value_differences("", one, two)
    return type(one) is type(two) and one == two


def attribute_differences(name, expected, found, keys=None) -> list[str]:
    wrong = []
    # Stock xarray hides attributes of a Zarr store whose names begin so: netCDF keeps its own notes under them.
    names = [key for key in sorted(set(expected) | set(found)) if not key.lower().startswith("_nc")]
    for key in keys or names:
        one, two = plain(expected.get(key)), plain(found.get(key))
        if key not in found and f"{name}@{key}" in NAMED_AS_UNREAD:
            continue
        if key not in found and key in expected and expected[key] is not None:
            wrong.append(f"{name}: attribute `{key}` is lost; it was {one!r}"[:300])
        elif key not in expected and found.get(key) is not None:
            wrong.append(f"{name}: attribute `{key}` = {two!r} is not in the source"[:300])
        elif not same_plain(one, two):
            wrong.append(f"{name}: attribute `{key}` = {two!r}, expected {one!r}"[:300])
    return wrong


def dimension_differences(name, expected, found) -> list[str]:
    """Names and order agree; dimensions that netCDF had to invent a name for agree in length."""
    if len(expected) == len(found) and all(a == b or str(a).startswith("phony_dim") for a, b in zip(expected, found)):
        return []
    return [f"{name}: dimensions {tuple(found)}, expected {tuple(expected)}"]


def has_float32_packing(variable) -> bool:
    packing = [variable.encoding.get(key) for key in ("scale_factor", "add_offset")]
    return any(isinstance(item, np.float32) for item in packing)


def counted(one, two) -> dict:
    """What attributes that speak of counts say of the values that stand in the counts' place: CF has `valid_range` and flags of
    packed data in the type of the counts (CF 1.11, sections 2.5.1, 3.5 and 8.1)."""
    packing = {key: one.encoding[key] for key in ("scale_factor", "add_offset", "_Unsigned") if key in one.encoding}
    if not packing or packing.keys() & two.encoding.keys():
        return {}
    counts = {key: np.atleast_1d(one.attrs[key]) for key in OF_COUNTS if isinstance(one.attrs.get(key), np.ndarray | np.generic)}
    stored = one.encoding["dtype"]
    counts = {key: value for key, value in counts.items() if value.dtype.itemsize == stored.itemsize and value.dtype.kind in "iu" and stored.kind in "iu"}
    return {key: xr.conventions.decode_cf_variable(key, xr.Variable("n", value, packing)).values for key, value in counts.items()}


def differences(expected: xr.Dataset, found: xr.Dataset, rules: set, *, encoded=ENCODED, unread=(), own=None) -> list[str]:
    """All differences between two decoded datasets. `unread` names variables that may be absent, `own` has attributes
    of the file that xarray does not show."""
    wrong = []
    absent = [name for name in expected.variables if name not in found.variables and name not in unread]
    wrong += [f"{name}: not in the store" for name in absent]
    wrong += [f"{name}: not in the source" for name in found.variables if name not in expected.variables]
    both = [name for name in expected.variables if name in found.variables]
    for name in both:
        one, two = expected[name].variable, found[name].variable
        if (name in expected.coords) != (name in found.coords):
            wrong.append(f"{name}: is {'a' if name in found.coords else 'no'} coordinate in the store only" )
        wrong += dimension_differences(name, one.dims, two.dims)
        # What xarray moved from a file's attributes to its encoding stays an attribute in Zarr.
        moved = {key: one.encoding[key] for key in two.attrs if key not in one.attrs and one.encoding.get(key) is not None}
        wrong += attribute_differences(name, {**one.attrs, **counted(one, two), **moved, **(own or {}).get(name, {})}, two.attrs)
        wrong += value_differences(name, one.values, two.values)
        if has_float32_packing(one) and "scale_factor" not in two.encoding and "add_offset" not in two.encoding:
            # JSON has no float32: only a store of the values themselves gives readers what the file gives.
            rules.add("float32-packing")
        elif not (is_text(one) or is_text(two)):
            wrong += attribute_differences(f"{name} (encoding)", one.encoding, two.encoding, encoded)
    return wrong + attribute_differences("(dataset)", {**(own or {}).get("/", {}), **expected.attrs}, found.attrs)


def boolean_attributes(path, group) -> dict:
    """Attributes of HDF5's boolean type, which the netCDF library does not show, by variable; `/` for the group."""
    def flags(item) -> dict:
        found = {}
        for key in item.attrs:
            try:
                if item.attrs.get_id(key).dtype == bool and not np.ndim(item.attrs[key]):
                    found[key] = int(item.attrs[key])
            except (TypeError, OSError, ValueError):
                pass  # A type that h5py does not know is no boolean.
        return found

    try:
        with h5py.File(path) as file:
            place = file[group]
            named = {name: item for name, item in place.items() if isinstance(item, h5py.Dataset)}
            return {"/": flags(place), **{name: flags(item) for name, item in named.items()}}
    except (OSError, KeyError, RuntimeError):
        return {}


def raw_differences(expected: xr.Dataset, found: xr.Dataset, unread=()) -> list[str]:
    """Stored values, before any decoding, bit for bit. Text may be stored otherwise and is compared decoded."""
    wrong = []
    for name in expected.variables:
        if name in found.variables and name not in unread:
            one, two = expected[name].variable, found[name].variable
            was_packed = {"scale_factor", "add_offset"} & set(one.attrs) - set(two.attrs)
            if not (is_text(one) or is_text(two) or was_packed):
                wrong += value_differences(f"{name} (stored)", one.values, two.values)
    return wrong


def open_store(store, group=None, **options) -> xr.Dataset:
    """As our snippets open it: stock xarray, through the root's consolidated metadata. A virtual dataset opens itself."""
    if hasattr(store, "opened"):
        opened, words = store.opened(group)
        return xr.open_dataset(opened, engine="zarr", group=store.below(group), **words, **options)
    return xr.open_dataset(store, engine="zarr", consolidated=True, group=group, **options)


def groups_of(path) -> list[str]:
    def walk(group, at):
        yield at
        for name, child in group.groups.items():
            yield from walk(child, f"{at.rstrip('/')}/{name}")

    with netCDF4.Dataset(path) as file:
        return list(walk(file, "/"))


def open_sources(path, group, decoding) -> xr.Dataset:
    return xr.open_dataset(path, engine="netcdf4", group=None if group == "/" else group, **decoding)


def open_all_groups(store, **options) -> dict:
    if hasattr(store, "opened"):
        return {name: open_store(store, group=name, **options) for name in store.groups()}
    return {name: data for name, data in xr.open_groups(store, engine="zarr", consolidated=True, **options).items()}


# Attributes that the Report says were left out, as `variable@attribute`, while a file is compared.
NAMED_AS_UNREAD: set = set()


def compare_file(source, store, unread=(), unjudged=(), attributes=()) -> Verdict:
    """The store against one file, group by group. `unread` holds the full paths that were named as left out,
    `unjudged` the names of variables that the reference itself gets wrong."""
    verdict = Verdict()
    NAMED_AS_UNREAD.clear()
    NAMED_AS_UNREAD.update(attributes)
    try:
        groups = groups_of(source)
        n_bytes = sum(open_sources(source, group, {"decode_cf": False}).nbytes for group in groups)
        if n_bytes > MAX_COMPARED_BYTES:
            raise ValueError(f"{n_bytes} bytes are too many to compare")
        decoding = {}
        try:
            expected = {group: open_sources(source, group, decoding).load() for group in groups}
        except (ValueError, OverflowError):
            # xarray cannot decode these times; then the undecoded numbers are what must agree.
            decoding = {"decode_times": False}
            expected = {group: open_sources(source, group, decoding).load() for group in groups}
    except Exception as error:
        verdict.uncomparable = f"xarray cannot read the source: {type(error).__name__}: {str(error)[:120]}"
        open_store(store)
        return verdict
    single = groups == ["/"]
    found = {"/": open_store(store, **decoding)} if single else open_all_groups(store, **decoding)
    raw = {"/": open_store(store, decode_cf=False)} if single else open_all_groups(store, decode_cf=False)
    for group, data in expected.items():
        left_out = {path.rsplit("/", 1)[1] for path in unread if (path.rsplit("/", 1)[0] or "/") == group}
        if group not in found:
            if any(name not in left_out for name in data.variables):
                verdict.differences.append(f"{group}: the group is not in the store")
            continue
        data, seen = data.drop_vars(unjudged, errors="ignore"), found[group].drop_vars(unjudged, errors="ignore")
        prefix = "" if single else f"{group} "
        wrong = differences(data, seen.load(), verdict.rules, unread=left_out, own=boolean_attributes(source, group))
        wrong += raw_differences(open_sources(source, group, {"decode_cf": False}), raw[group], {*left_out, *unjudged})
        verdict.differences += [prefix + line for line in wrong]
    return verdict


def isolated(function, *arguments, timeout=120):
    """Calls `function` in a process of its own: the C stack may crash on a source, and xarray must not keep it open."""
    import select
    import signal

    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            answer = (True, function(*arguments))
        except BaseException as error:  # Everything goes to the parent, which judges.
            answer = (False, f"{type(error).__name__}: {error}\n{traceback.format_exc()[-1500:]}")
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        if not select.select([pipe], [], [], timeout)[0]:
            os.kill(pid, signal.SIGKILL)
        content = pipe.read()
    os.waitpid(pid, 0)
    if not content:
        raise ReferenceCrashed(f"the reference readers died in {function.__name__}{arguments[:1]}")
    succeeded, value = pickle.loads(content)
    if not succeeded:
        raise AssertionError(value)
    return value


class ReferenceCrashed(Exception):
    """The process with xarray and its C libraries died: that says nothing about frazil."""
