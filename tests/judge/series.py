"""What several files along one dimension should become, made by stock xarray file by file.

It promises a dataset in which every value is the decoded value of its own file, whatever the files' packing or units.
It does not open two files at once with one set of rules, because that is what goes wrong elsewhere.
"""

import numpy as np
import xarray as xr

from same import Verdict, differences, open_store, plain, same_plain


class NotOneSeries(Exception):
    """The files do not make one dataset without a decision: frazil must refuse, too."""


def growing_dimension(datasets: list[xr.Dataset]) -> str:
    """The dimension whose labels differ from file to file."""
    found = []
    for name in datasets[0].dims:
        if all(name in data.variables for data in datasets):
            first = datasets[0][name].values
            if any(data[name].shape != first.shape or (data[name].values != first).any() for data in datasets[1:]):
                found.append(name)
    if len(found) != 1:
        raise NotOneSeries(f"{len(found)} dimensions have labels that differ: {found}")
    return found[0]


def expected_series(paths, along=None) -> tuple[xr.Dataset, list[dict]]:
    """The files as one dataset, sorted by label; and what is known of its attributes."""
    datasets = [xr.open_dataset(path, engine="netcdf4").load() for path in paths]
    along = along or growing_dimension(datasets)
    # By label each element has one place, whichever way its file runs.
    datasets = [data.sortby(along) if along in data.dims and data.sizes[along] > 1 else data for data in datasets]
    datasets.sort(key=lambda data: data[along].values[0])
    names = set(datasets[0].variables)
    if any(set(data.variables) != names for data in datasets):
        raise NotOneSeries("the files do not hold the same variables")
    first, parts = datasets[0], {}
    for name in first.variables:
        variables = [data[name].variable for data in datasets]
        if along in variables[0].dims:
            order = variables[0].dims
            parts[name] = xr.Variable.concat([v.transpose(*order) for v in variables], along, combine_attrs="override")
        elif all(v.identical(variables[0]) or v.equals(variables[0]) for v in variables[1:]):
            parts[name] = variables[0]
        else:
            raise NotOneSeries(f"`{name}` has no dimension `{along}` and differs")
    labels = parts[along].values
    if len(np.unique(labels)) != len(labels) or any(labels[1:] <= labels[:-1]):
        raise NotOneSeries(f"labels of `{along}` come twice or overlap")
    series = xr.Dataset(parts).set_coords([name for name in first.coords if name in parts])
    owners = {"(dataset)": [data.attrs for data in datasets]}
    owners.update({name: [data[name].attrs for data in datasets] for name in first.variables})
    return series, owners


def settle_attributes(series: xr.Dataset, found: xr.Dataset, owners: dict) -> None:
    """Attributes all files agree on must be there, those in conflict must be gone, those of some files may be either."""
    for name, owned in owners.items():
        target = series if name == "(dataset)" else series[name]
        seen = found if name == "(dataset)" else found.get(name)
        target.attrs = {}
        for key in {key for attrs in owned for key in attrs}:
            values = [plain(attrs[key]) for attrs in owned if key in attrs]
            if not all(same_plain(values[0], value) for value in values):
                continue
            in_all = len(values) == len(owned)
            if in_all or (seen is not None and key in seen.attrs):
                target.attrs[key] = values[0]


def compare_series(paths, store, along=None) -> Verdict:
    """The store against the files that should be one dataset in it."""
    verdict = Verdict()
    try:
        series, owners = expected_series(paths, along)
    except NotOneSeries as error:
        verdict.uncomparable = f"not one series: {error}"
        return verdict
    found = open_store(store).load()
    settle_attributes(series, found, owners)
    # Units, epoch and packing may change where no decoded value does, so the encoding is not compared.
    verdict.differences = differences(series, found, verdict.rules, encoded=["calendar"])
    return verdict


