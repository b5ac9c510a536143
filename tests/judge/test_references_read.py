"""Kerchunk references and DMR++ as sources: what they lead to is read as if it were in one store, and nowhere else."""

import base64
import json
import shutil
import time
from xml.sax.saxutils import escape, quoteattr

import h5py
import numpy as np
import pytest
import xarray as xr

from command import CORPUS, frazil
from make import days, make
from same import differences, open_store
from server import serving
from verdicts import convert, is_visible

ARRAY = {"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<i2", "compressor": None, "filters": None, "fill_value": None, "order": "C"}
NAMED = {"_ARRAY_DIMENSIONS": ["n"]}


def netcdf(path, first="2000-01-01", n=20, **words):
    """Large enough that values are read chunk by chunk, and not along with the metadata."""
    lat, lon = np.linspace(-60, 60, 40), np.linspace(0, 350, 50)
    packing = {"scale_factor": 0.5, "add_offset": 100.0}
    return make(path, days(first, n), dtype="i2", lat=lat, lon=lon, packing=packing, fill=-32768, zlib=True, chunksizes=(3, 20, 25), **words)


def chunk_rows(variable):
    """Key, first element, byte and length of each chunk of an HDF5 variable, as h5py lists them."""
    if variable.chunks is None:
        if variable.id.get_offset() is not None:
            yield "0" if not variable.shape else ".".join("0" for _ in variable.shape), None, variable.id.get_offset(), variable.id.get_storage_size()
        return
    for number in range(variable.id.get_num_chunks()):
        chunk = variable.id.get_chunk_info(number)
        at = [offset // length for offset, length in zip(chunk.chunk_offset, variable.chunks)]
        yield ".".join(map(str, at)), chunk.chunk_offset, chunk.byte_offset, chunk.size


def zarr_metadata(variable, dims):
    """`.zarray` and `.zattrs` of an HDF5 variable of plain numbers."""
    filters = [{"id": "shuffle", "elementsize": variable.dtype.itemsize}] if variable.shuffle else None
    compressor = {"id": "zlib", "level": variable.compression_opts} if variable.compression == "gzip" else None
    fill = variable.attrs.get("_FillValue")
    array = {
        "zarr_format": 2, "shape": variable.shape, "chunks": variable.chunks or variable.shape, "dtype": variable.dtype.str, "order": "C",
        "compressor": compressor, "filters": filters, "fill_value": None if fill is None else np.asarray(fill).ravel()[0].item(),
    }
    attributes = {"_ARRAY_DIMENSIONS": dims}
    for name, value in variable.attrs.items():
        if name not in ("_FillValue", "DIMENSION_LIST", "CLASS", "NAME", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"):
            value = value.decode() if isinstance(value, bytes) else np.asarray(value).ravel().tolist() if not isinstance(value, str) else value
            attributes[name] = value[0] if isinstance(value, list) and len(value) == 1 else value
    return array, attributes


def references(path, url, inline_below=0):
    """The references of a netCDF-4 file, in the words of Kerchunk's version 0."""
    with h5py.File(path) as file, xr.open_dataset(path) as seen:
        refs = {".zgroup": json.dumps({"zarr_format": 2}), ".zattrs": json.dumps(seen.attrs)}
        content = open(path, "rb").read()
        for name in seen.variables:
            array, attributes = zarr_metadata(file[name], list(seen[name].dims))
            refs[f"{name}/.zarray"], refs[f"{name}/.zattrs"] = json.dumps(array), json.dumps(attributes)
            for key, _, offset, length in chunk_rows(file[name]):
                is_small = length < inline_below
                refs[f"{name}/{key}"] = "base64:" + base64.b64encode(content[offset : offset + length]).decode() if is_small else [url, offset, length]
    return refs


def assert_same(source, store):
    with xr.open_dataset(source) as expected, open_store(store) as found:
        wrong = differences(expected.load(), found.load(), set())
    assert not wrong, wrong


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("inline_below", [0, 200])
def test_references_as_json_lead_to_the_values(tmp_path, version, inline_below):
    source = netcdf(tmp_path / "in.nc")
    refs = references(source, str(source), inline_below)
    (tmp_path / "refs.json").write_text(json.dumps(refs if version == 0 else {"version": 1, "refs": refs}))
    answer = convert([tmp_path / "refs.json"], tmp_path / "z", "--chunks", "time=7,lat=16,lon=25")
    assert answer.code == 0, str(answer)
    assert_same(source, tmp_path / "z")
    assert frazil("verify", tmp_path / "z", "--sources", tmp_path / "refs.json").code == 0
    answer = convert([tmp_path / "refs.json"], tmp_path / "z", "--chunks", "time=7,lat=16,lon=25")
    assert answer.code == 0 and answer.report["outcome"] == "already-there", str(answer)


def test_templates_and_rules_are_followed(tmp_path):
    (tmp_path / "data").mkdir()
    for number in range(3):
        np.arange(number * 10, number * 10 + 4, dtype="<i2").tofile(tmp_path / f"data/part_{number}.bin")
    array = ARRAY | {"shape": [12], "chunks": [2]}
    document = {
        "version": 1,
        "templates": {"u": "data/part", "f": "{{c}}"},
        "gen": [{"key": "x/{{2 * i + j}}", "url": "{{u}}_{{i}}.bin", "offset": "{{(j + 1) * 4 - 4}}", "length": "4", "dimensions": {"i": {"stop": 2}, "j": [0, 1]}}],
        "refs": {".zgroup": {"zarr_format": 2}, "x/.zarray": json.dumps(array), "x/.zattrs": json.dumps(NAMED), "x/4": ["{{f(c='data')}}/part_2.bin", 0, 4], "x/5": ["{{u}}_2.bin", 4, 4]},
    }
    (tmp_path / "refs.json").write_text(json.dumps(document))
    answer = convert([tmp_path / "refs.json"], tmp_path / "z")
    assert answer.code == 0, str(answer)
    with open_store(tmp_path / "z") as found:
        np.testing.assert_array_equal(found["x"].values, [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23])


def test_several_documents_are_joined(tmp_path):
    sources = [netcdf(tmp_path / f"in{i}.nc", first) for i, first in enumerate(["2000-01-01", "2000-01-21"])]
    for number, source in enumerate(sources):
        (tmp_path / f"refs{number}.json").write_text(json.dumps(references(source, f"file://{source}")))
    assert convert([tmp_path / "refs0.json", tmp_path / "refs1.json"], tmp_path / "z").code == 0
    assert convert(sources, tmp_path / "direct").code == 0
    with open_store(tmp_path / "z") as found, open_store(tmp_path / "direct") as expected:
        assert found["sst"].equals(expected["sst"]) and found["time"].equals(expected["time"])


def test_a_changed_file_is_seen(tmp_path):
    source = netcdf(tmp_path / "in.nc")
    (tmp_path / "refs.json").write_text(json.dumps(references(source, str(source))))
    assert convert([tmp_path / "refs.json"], tmp_path / "z").code == 0
    with h5py.File(source) as file:
        _, _, offset, length = list(chunk_rows(file["sst"]))[2]
        _, _, other, _ = list(chunk_rows(file["sst"]))[3]
    content = bytearray(source.read_bytes())
    content[offset : offset + length] = content[other : other + length]
    source.write_bytes(content)
    assert convert([tmp_path / "refs.json"], tmp_path / "z").code == 1
    assert frazil("verify", tmp_path / "z", "--sources", tmp_path / "refs.json").code == 1


def test_references_lead_only_where_somebody_allowed(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    source = netcdf(tmp_path / "there" / "in.nc")
    with serving(tmp_path / "there") as server:
        for number, url in enumerate([str(source), "../there/in.nc", f"file://{source}", f"{server.address}/in.nc"]):
            document = tmp_path / "here" / f"refs{number}.json"
            document.write_text(json.dumps(references(source, url)))
            for words in [[], ["--follow", str(tmp_path / "here")], ["--follow", "http://127.0.0.1:9/"]]:
                answer = convert([document], tmp_path / "z", *words)
                assert answer.code == 1 and "allowed it to lead" in answer.text, str(answer)
            assert not server.requests and not is_visible(tmp_path / "z")
        answer = convert([tmp_path / "here/refs0.json"], tmp_path / "z0", "--follow", str(tmp_path / "there"))
        assert answer.code == 0, str(answer)
        answer = convert([tmp_path / "here/refs3.json"], tmp_path / "z3", "--follow", f"{server.address}/")
        assert answer.code == 0, str(answer)
    assert_same(source, tmp_path / "z0")
    assert_same(source, tmp_path / "z3")


def test_a_document_of_a_web_server_leads_to_its_own_folder(tmp_path):
    (tmp_path / "d").mkdir()
    source = netcdf(tmp_path / "d" / "in.nc")
    (tmp_path / "d" / "refs.json").write_text(json.dumps(references(source, "in.nc")))
    (tmp_path / "d" / "up.json").write_text(json.dumps(references(source, "../in.nc")))
    with serving(tmp_path) as server:
        assert convert([f"{server.address}/d/refs.json"], tmp_path / "z").code == 0
        assert convert([f"{server.address}/d/up.json"], tmp_path / "y").code == 1
    assert_same(source, tmp_path / "z")


def test_bombs_are_refused_fast_and_small(tmp_path):
    array = json.dumps(ARRAY)
    many = {"version": 1, "refs": {"x/.zarray": array}, "gen": [{"key": "x/{{i}}", "url": "u", "dimensions": {"i": {"stop": 10**9}}}]}
    bombs = {
        "many": json.dumps(many),
        "deep": '{"x/.zarray":' + "[" * 10**6 + "]" * 10**6 + "}",
        "loop": json.dumps({"version": 1, "templates": {"a": "{{b()}}", "b": "{{a()}}"}, "refs": {"x/.zarray": array, "x/0": ["{{a()}}", 0, 4]}}),
        "shape": json.dumps({"x/.zarray": json.dumps(ARRAY | {"shape": [10**18], "chunks": [1]}), "x/0": ["u", 0, 2]}),
        "offset": json.dumps({"x/.zarray": array, "x/.zattrs": json.dumps(NAMED), "x/0": ["bombs-offset.json", 2**63, 4]}),
    }
    for name, text in bombs.items():
        place = tmp_path / f"bombs-{name}.json"
        place.write_text(text)
        answer = convert([place], tmp_path / "z")
        assert answer.crash() is None and answer.code in (1, 2, 3), f"{name}\n{answer}"
        assert answer.seconds < 10 and answer.rss_bytes < 512 << 20, f"{name}\n{answer}"
        assert not is_visible(tmp_path / "z") or answer.code == 3
    large = tmp_path / "large.json"
    with open(large, "wb") as file:
        file.write(b'{"x/.zarray": "')
        file.truncate(1 << 30)
    began = time.monotonic()
    answer = convert([large], tmp_path / "z")
    assert answer.code == 1 and time.monotonic() - began < 5 and answer.rss_bytes < 200 << 20, str(answer)


@pytest.fixture(scope="module")
def translated(tmp_path_factory):
    """Two files, what kerchunk says of them and of both, and that again as Parquet: small chunks inline, others by path."""
    fsspec, hdf, combine, df = (pytest.importorskip(name) for name in ("fsspec", "kerchunk.hdf", "kerchunk.combine", "kerchunk.df"))
    folder = tmp_path_factory.mktemp("kerchunk")
    # Whole chunks: kerchunk joins others without a word, and what follows is out of place.
    sources = [netcdf(folder / f"in{i}.nc", first, 21) for i, first in enumerate(["2000-01-01", "2000-01-22"])]
    each = []
    for source in sources:
        with fsspec.open(str(source)) as file:
            each.append(hdf.SingleHdf5ToZarr(file, str(source), inline_threshold=60).translate())
        source.with_suffix(".json").write_text(json.dumps(each[-1]))
    both = combine.MultiZarrToZarr(each, concat_dims=["time"], identical_dims=["lat", "lon"]).translate()
    (folder / "both.json").write_text(json.dumps(both))
    df.refs_to_dataframe(both, str(folder / "both.parq"), record_size=7)
    assert convert(sources, folder / "direct", "--chunks", "time=7").code == 0
    return folder


@pytest.mark.parametrize("name", ["both.json", "both.parq"])
def test_what_kerchunk_made_leads_to_the_values(translated, tmp_path, name):
    answer = convert([translated / name], tmp_path / "z", "--chunks", "time=7")
    assert answer.code == 0, str(answer)
    with xr.open_dataset(str(translated / name), engine="kerchunk") as expected, open_store(tmp_path / "z") as found:
        assert expected.load().equals(found.load())
    with open_store(translated / "direct") as expected, open_store(tmp_path / "z") as found:
        assert expected.load().equals(found.load())
        assert found["sst"].dtype == expected["sst"].dtype and found["sst"].attrs == expected["sst"].attrs
    assert frazil("verify", tmp_path / "z", "--sources", translated / name).code == 0
    answer = convert([translated / name], tmp_path / "z", "--chunks", "time=7")
    assert answer.code == 0 and answer.report["outcome"] == "already-there", str(answer)
    assert frazil("inspect", translated / name).code == 0


def test_documents_of_kerchunk_are_joined_by_frazil(translated, tmp_path):
    answer = convert([translated / "in0.json", translated / "in1.json"], tmp_path / "z")
    assert answer.code == 0, str(answer)
    with open_store(translated / "direct") as expected, open_store(tmp_path / "z") as found:
        assert expected["sst"].equals(found["sst"]) and expected["time"].equals(found["time"])


def test_a_damaged_table_of_references_is_refused(translated, tmp_path):
    shutil.copytree(translated / "both.parq", tmp_path / "both.parq")
    table = sorted((tmp_path / "both.parq" / "sst").glob("*.parq"))[0]
    content = table.read_bytes()
    for cut in [0, 4, len(content) // 2, len(content) - 1]:
        table.write_bytes(content[:cut])
        answer = convert([tmp_path / "both.parq"], tmp_path / "z")
        assert answer.crash() is None and answer.code == 1, str(answer)


DAP = {"f4": "Float32", "f8": "Float64", "i1": "Int8", "i2": "Int16", "i4": "Int32", "i8": "Int64", "u1": "UInt8", "u2": "UInt16", "u4": "UInt32"}


def attributes(attrs):
    """Attributes in the words of DMR."""
    for key, value in attrs.items():
        if key in ("DIMENSION_LIST", "REFERENCE_LIST", "_NCProperties"):
            continue
        value = value.decode() if isinstance(value, bytes) else value
        said = "String" if isinstance(value, str) else DAP[np.asarray(value).dtype.str[1:]]
        values = [value] if isinstance(value, str) else np.asarray(value).ravel().tolist()
        inside = "".join(f"<Value>{escape(str(one))}</Value>" for one in values)
        yield f'<Attribute name={quoteattr(key)} type="{said}">{inside}</Attribute>'


def dmrpp(path, href) -> str:
    """The DMR++ of a netCDF-4 file of plain numbers, as OPeNDAP's `build_dmrpp` writes it."""
    parts = []
    with h5py.File(path) as file, xr.open_dataset(path) as seen:
        parts += [f'<Dimension name="{name}" size="{size}"/>' for name, size in seen.sizes.items()]
        parts += attributes(file.attrs)
        for name in seen.variables:
            variable = file[name]
            kind = DAP[variable.dtype.str[1:]]
            parts.append(f'<{kind} name="{name}">')
            parts += [f'<Dim name="/{dim}"/>' for dim in seen[name].dims]
            parts += attributes(variable.attrs)
            packed = "shuffle " * bool(variable.shuffle) + "deflate" * (variable.compression == "gzip")
            fill = np.asarray(variable.fillvalue).item()
            order = "BE" if variable.dtype.str[0] == ">" else "LE"
            parts.append(f'<dmrpp:chunks compressionType="{packed.strip()}" deflateLevel="4" fillValue="{fill}" byteOrder="{order}">' if packed else f'<dmrpp:chunks fillValue="{fill}" byteOrder="{order}">')
            if variable.chunks:
                parts.append(f"<dmrpp:chunkDimensionSizes>{' '.join(map(str, variable.chunks))}</dmrpp:chunkDimensionSizes>")
            for _, position, offset, length in chunk_rows(variable):
                place = f' chunkPositionInArray="[{",".join(map(str, position))}]"' if position is not None else ""
                parts.append(f'<dmrpp:chunk offset="{offset}" nBytes="{length}"{place}/>')
            parts.append(f"</dmrpp:chunks></{kind}>")
    head = '<Dataset xmlns="http://xml.opendap.org/ns/DAP/4.0#" xmlns:dmrpp="http://xml.opendap.org/dap/dmrpp/1.0.0#" dapVersion="4.0" dmrVersion="1.0"'
    return f'<?xml version="1.0" encoding="ISO-8859-1"?>\n{head} name="{href}" dmrpp:href="{href}">\n' + "\n".join(parts) + "\n</Dataset>\n"


@pytest.mark.parametrize("href", ["in.nc", "OPeNDAP_DMRpp_DATA_ACCESS_URL"])
def test_dmrpp_leads_to_the_values(tmp_path, href):
    source = netcdf(tmp_path / "in.nc")
    (tmp_path / "in.nc.dmrpp").write_text(dmrpp(source, href))
    answer = convert([tmp_path / "in.nc.dmrpp"], tmp_path / "z", "--chunks", "time=7,lat=16,lon=25")
    assert answer.code == 0, str(answer)
    assert_same(source, tmp_path / "z")
    assert frazil("inspect", tmp_path / "in.nc.dmrpp").code == 0


def test_files_of_the_corpus_are_read_through_dmrpp(tmp_path):
    """Files of others, described by what h5py says of them, read as they are read without."""
    n_compared = 0
    for source in sorted((CORPUS / "netcdf4").rglob("*.nc"))[:400]:
        if n_compared >= 8:
            break
        place = tmp_path / source.name
        place.write_bytes(source.read_bytes())
        try:
            place.with_name(place.name + ".dmrpp").write_text(dmrpp(place, source.name))
        except Exception:
            continue
        answer = convert([f"{place}.dmrpp"], tmp_path / f"z{n_compared}")
        assert answer.crash() is None, str(answer)
        direct = convert([place], tmp_path / f"d{n_compared}")
        if direct.code != 0 or answer.code != 0:
            continue
        with open_store(tmp_path / f"z{n_compared}", decode_cf=False) as found, open_store(tmp_path / f"d{n_compared}", decode_cf=False) as expected:
            for name in found.variables:
                np.testing.assert_array_equal(found[name].values, expected[name].values, f"{source} {name}")
        n_compared += 1
    assert n_compared >= 5
