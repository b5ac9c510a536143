#!/usr/bin/env python3
"""The rivals that make virtual datasets: kerchunk and VirtualiZarr, and the bare walk over the chunks that h5py can do.

    with_references.py kerchunk|virtualizarr|h5py FORMAT DEST FILES...       FORMAT: json, parquet, icechunk or none

They get what people who know them give them: two processes on this disk, more where a server must be waited for.
"""

import concurrent.futures
import json
import os
import sys
import urllib.parse
import warnings

warnings.simplefilter("ignore")
LOCAL_WORKERS, REMOTE_WORKERS = 2, 8


class Workers(concurrent.futures.ProcessPoolExecutor):
    """As many processes as the place of the files asks for."""

    def __init__(self, *_, **__):
        super().__init__(REMOTE_WORKERS if "://" in sys.argv[4] else LOCAL_WORKERS)


def scanned(url):
    from kerchunk.hdf import SingleHdf5ToZarr

    options = {"block_size": 1 << 20, "cache_type": "first"} if "://" in url else {}
    import fsspec

    with fsspec.open(url, "rb", **options) as file:
        return SingleHdf5ToZarr(file, url, inline_threshold=500).translate()


def with_kerchunk(form, dest, files):
    from kerchunk.combine import MultiZarrToZarr
    from kerchunk.df import refs_to_dataframe

    if len(files) == 1:
        combined = scanned(files[0])
    else:
        with Workers() as workers:
            singles = list(workers.map(scanned, files, chunksize=max(1, len(files) // 64)))
        protocol = "http" if "://" in files[0] else "file"
        combined = MultiZarrToZarr(singles, concat_dims=["time"], identical_dims=["lat", "lon"], remote_protocol=protocol).translate()
    if form == "json":
        with open(dest, "w") as file:
            json.dump(combined, file)
    else:
        os.makedirs(dest)
        refs_to_dataframe(combined, dest)


def with_virtualizarr(form, dest, files):
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import HTTPStore, LocalStore
    from virtualizarr import open_virtual_dataset, open_virtual_mfdataset
    from virtualizarr.parsers import HDFParser

    if "://" in files[0]:
        root = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(files[0]))
        registry, urls = ObjectStoreRegistry({root: HTTPStore.from_url(root, client_options={"allow_http": True})}), files
    else:
        root = f"file://{os.path.dirname(os.path.abspath(files[0]))}/"
        registry, urls = ObjectStoreRegistry({"file://": LocalStore()}), [f"file://{os.path.abspath(path)}" for path in files]
    if len(urls) == 1:
        data = open_virtual_dataset(urls[0], registry=registry, parser=HDFParser())
    else:
        data = open_virtual_mfdataset(
            urls, registry=registry, parser=HDFParser(), combine="nested", concat_dim="time", data_vars="minimal", coords="minimal", compat="override",
            loadable_variables=["time", "lat", "lon"], parallel=concurrent.futures.ThreadPoolExecutor if "://" in files[0] else False,
        )
    if form != "icechunk":
        return data.vz.to_kerchunk(dest, format=form)
    import icechunk

    is_web = "://" in files[0]
    prefix = root.rstrip("/") + "/"
    store = icechunk.http_store() if is_web else icechunk.local_filesystem_store(prefix.removeprefix("file://"))
    config = icechunk.RepositoryConfig.default()
    config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(prefix, store))
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(dest), config, authorize_virtual_chunk_access=icechunk.containers_credentials({prefix: None}))
    repository.save_config()
    session = repository.writable_session("main")
    data.vz.to_icechunk(session.store)
    return session.commit("a benchmark")


def with_h5py(form, dest, files):
    """Every chunk of every array named once: what no program that asks HDF5 can beat."""
    import h5py

    def note(chunk):
        places.append((chunk.chunk_offset, chunk.byte_offset, chunk.size))

    n_chunks = 0
    for path in files:
        places = []
        with h5py.File(path) as file:
            arrays = []
            file.visititems(lambda name, item: arrays.append(item) if isinstance(item, h5py.Dataset) else None)
            for item in arrays:
                if item.chunks:
                    item.id.chunk_iter(note)
                elif item.id.get_offset() is not None:
                    places.append(((0,), item.id.get_offset(), item.id.get_storage_size()))
        n_chunks += len(places)
    print(n_chunks)


if __name__ == "__main__":
    name, form, dest, *files = sys.argv[1:]
    if len(files) == 1 and files[0].startswith("@"):
        files = open(files[0][1:]).read().split("\n")
        sys.argv[4] = files[0]
    {"kerchunk": with_kerchunk, "virtualizarr": with_virtualizarr, "h5py": with_h5py}[name](form, dest, files)
