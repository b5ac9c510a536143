"""Makes the sample files in `examples/sea-surface/data`: six months of daily sea-surface temperature and sea ice.

The values are invented: a smooth field that warms towards summer. What is real is the mess that such series have:

- every file counts its days from its own first of the month;
- `sst` is packed into int16 (0.01 degC), `ice` is a plain float32 with missing values;
- March was compressed with another level, May is neither shuffled nor chunked as the others.

Run it with Python, netCDF4 and numpy:  python examples/make_sea_surface.py
"""

import calendar
import pathlib

import netCDF4
import numpy as np

YEAR = 2001
N_LAT, N_LON = 10, 20
FOLDER = pathlib.Path(__file__).parent / "sea-surface" / "data"


def write_month(month: int) -> None:
    n_days = calendar.monthrange(YEAR, month)[1]
    path = FOLDER / f"sst_{YEAR}{month:02}.nc"
    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        file.Conventions = "CF-1.11"
        file.title = "Sea-surface temperature and sea ice, invented for an example"
        file.history = f"made for {YEAR}-{month:02}"
        file.createDimension("time", None)
        file.createDimension("lat", N_LAT)
        file.createDimension("lon", N_LON)

        time = file.createVariable("time", "f8", ("time",))
        time.units = f"days since {YEAR}-{month:02}-01"
        time.calendar = "standard"
        time.standard_name = "time"
        time.axis = "T"
        lat = file.createVariable("lat", "f4", ("lat",))
        lat.units, lat.standard_name, lat.axis = "degrees_north", "latitude", "Y"
        lon = file.createVariable("lon", "f4", ("lon",))
        lon.units, lon.standard_name, lon.axis = "degrees_east", "longitude", "X"

        # The storage differs between files; the values do not care.
        storage = {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": (1, N_LAT, N_LON)}
        if month == 3:
            storage["complevel"] = 9
        if month == 5:
            storage["shuffle"] = False
            storage["chunksizes"] = (n_days, 5, 10)
        sst = file.createVariable("sst", "i2", ("time", "lat", "lon"), fill_value=np.int16(-32768), **storage)
        sst.long_name = "sea surface temperature"
        sst.standard_name = "sea_surface_temperature"
        sst.units = "degC"
        sst.scale_factor = 0.01
        sst.add_offset = 10.0
        ice = file.createVariable("ice", "f4", ("time", "lat", "lon"), fill_value=np.float32(-999), **storage)
        ice.long_name = "sea ice area fraction"
        ice.standard_name = "sea_ice_area_fraction"
        ice.units = "1"

        lats = np.linspace(-67.5, 67.5, N_LAT)
        lons = np.arange(N_LON) * 18.0
        day_of_year = sum(calendar.monthrange(YEAR, m)[1] for m in range(1, month)) + np.arange(n_days)
        season = np.sin(2 * np.pi * (day_of_year - 80) / 365)[:, None, None]
        y, x = np.meshgrid(lats, lons, indexing="ij")
        celsius = 28 * np.cos(np.radians(y)) ** 2 + 4 * season * np.sin(np.radians(y)) + 0.5 * np.cos(np.radians(3 * x))
        counts = np.round((celsius - 10.0) / 0.01).astype("i2")
        land = (x > 90) & (x < 150) & (y > 0) & (y < 40)
        counts[:, land] = -32768
        fraction = np.clip((6.0 - celsius) / 8.0, 0.0, 1.0).astype("f4")
        fraction[:, land] = -999

        time[:] = np.arange(n_days)
        lat[:] = lats
        lon[:] = lons
        # The counts are made here, so that no rounding of the library comes in between.
        sst.set_auto_maskandscale(False)
        ice.set_auto_maskandscale(False)
        sst[:] = counts
        ice[:] = fraction


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for month in range(1, 7):
        write_month(month)
