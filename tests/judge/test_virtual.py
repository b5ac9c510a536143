"""For each netCDF or HDF5 file and each series of the corpus: what stock readers open through our references equals
xarray(source), for Icechunk, kerchunk JSON and kerchunk Parquet; what is refused stands in a short table."""

import random

import pytest

import clients
from command import CORPUS
from same import ReferenceCrashed, isolated
from sweep import refusals, series_sources, single_sources
from virtual_sweep import MAX_REFUSALS, judge, opens_in_xarray, virtual_refusals
from virtual import FORMATS

# CI looks at every series and at every n-th file; each format at other ones, so that together they see many.
EVERY = 5


@pytest.fixture(autouse=True)
def needs_virtual():
    clients.needs_target("virtual")


def check(source, form):
    outcome, why = judge(source, form)
    assert outcome != "wrong", why
    known = virtual_refusals().get((source, form))
    if outcome == "refused" and refusals().get(source, ("",))[0] != "refused":
        # What a Zarr store cannot hold either stands in that table.
        assert known is not None, f"refused, and not in virtual_refusals.tsv: {why}"
    else:
        assert known is None, f"virtual_refusals.tsv need not hold `{source}` for {form} any more"
    if outcome == "partly":
        assert refusals().get(source, ("",))[0] in ("partly", "refused"), f"left out, though a Zarr store holds it: {why}"
    if outcome == "unjudged":
        pytest.skip(why)


def pytest_generate_tests(metafunc):
    if "source" not in metafunc.fixturenames:
        return
    is_series, options = "series" in metafunc.function.__name__, metafunc.config.option
    turn = random.Random(options.seed).randrange(EVERY)
    everything = series_sources() if is_series else single_sources()
    chosen = [
        (source, form) for number, source in enumerate(everything) for at, form in enumerate(FORMATS)
        if is_series or options.soak or (number + at + turn) % EVERY == 0
    ]
    metafunc.parametrize("source,form", chosen)


def test_a_virtual_series_opens_as_its_sources(source, form):
    check(source, form)


def test_a_virtual_file_opens_as_its_source(source, form):
    check(source, form)


def test_few_files_are_refused_and_each_is_there():
    known = virtual_refusals()
    unknown = {source for source, _ in known} - set(single_sources()) - set(series_sources())
    assert not unknown
    no_store_holds = [source for source, (how, _) in refusals().items() if how == "refused" and (CORPUS / source).is_file()]
    read_by_xarray = {source for source in no_store_holds if opened(source)}
    assert len(read_by_xarray | {source for source, _ in known}) <= MAX_REFUSALS, read_by_xarray


def opened(source) -> bool:
    try:
        return isolated(opens_in_xarray, str(CORPUS / source))
    except ReferenceCrashed:
        return False
