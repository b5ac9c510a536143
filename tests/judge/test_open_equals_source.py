"""For each netCDF or HDF5 file and each series of the corpus: xarray(our Zarr) equals xarray(source), or a refusal
that names file and reason and stands in the table."""

import pytest

from sweep import judge, refusals, series_sources, single_sources

# Zarr v2 has its own fill and string rules; every fifth file and all series go through it, too.
V2_SAMPLE = single_sources()[::5] + series_sources()


def check(source, zarr_format):
    outcome, why = judge(source, zarr_format)
    known = refusals().get(source)
    assert outcome != "wrong", why
    if outcome in ("refused", "partly"):
        assert known is not None, f"{outcome}, and not in refusals.tsv: {why}"
        assert known[0] == outcome, f"{outcome}: {why}; refusals.tsv says {known}"
    elif zarr_format == 3:
        assert known is None, f"refusals.tsv need not hold `{source}` any more"
    if outcome == "unjudged":
        pytest.skip(why)


@pytest.mark.parametrize("source", single_sources())
def test_a_file_opens_as_its_source(source):
    check(source, 3)


@pytest.mark.parametrize("source", series_sources())
def test_a_series_opens_as_its_sources(source):
    check(source, 3)


@pytest.mark.parametrize("source", V2_SAMPLE)
def test_zarr_v2_opens_as_its_source(source):
    check(source, 2)


def test_the_table_of_refusals_names_only_sources_that_exist(corpus):
    unknown = set(refusals()) - set(single_sources()) - set(series_sources())
    assert not unknown
