"""The CRS of areas: which one counts, and what is told of it, to whom."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import CRS, Transformer
from shapely import MultiPolygon, Polygon

import s2async
from s2async.areas.loader import fingerprint, load, read
from s2async.config.model import Config
from s2async.config.sections import InlineArea
from s2async.errors import AreaError, PlaceWarning
from s2async.events import Notice
from s2async.models import Area
from tests.support.fault_server import FaultServer

pytestmark = pytest.mark.slow

FIELD = shapely.box(12.90, 52.47, 12.91, 52.48)
GAUSS = (
    'PROJCS["unnamed",GEOGCS["Bessel 1841",DATUM["{}",SPHEROID["bessel",6377397.155,299.1528128]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],'
    'PARAMETER["latitude_of_origin",0],PARAMETER["central_meridian",12],PARAMETER["scale_factor",1],'
    'PARAMETER["false_easting",4500000],PARAMETER["false_northing",0],UNIT["Meter",1]]'
)
UTM = (
    'PROJCS["x",GEOGCS["x",DATUM["{}",SPHEROID["GRS 1980",6378137,298.257222101]],PRIMEM["Greenwich",0],'
    'UNIT["Degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],PARAMETER["False_Easting",500000],'
    'PARAMETER["False_Northing",0],PARAMETER["Central_Meridian",15],PARAMETER["Scale_Factor",0.9996],'
    'PARAMETER["Latitude_Of_Origin",0],UNIT["Meter",1]]'
)


def moved(shape: Polygon, crs: str) -> Polygon:
    """A polygon in lon/lat, in another CRS."""
    there = Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    return shapely.transform(shape, lambda xy: np.column_stack(there.transform(*xy.T)))


def geojson(path: Path, shapes: Mapping[str, Polygon | MultiPolygon], crs: str | None) -> Path:
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": json.loads(shapely.to_geojson(shape))}
        for name, shape in shapes.items()
    ]
    member = {"crs": {"type": "name", "properties": {"name": crs}}} if crs else {}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **member}))
    return path


def shapefile(path: Path, shape: Polygon, prj: str) -> Path:
    """A shapefile with a .prj of any text."""
    columns = [np.array(["Field"], object)]
    wkb = shapely.to_wkb(np.array([shape]))
    pyogrio.raw.write(path, wkb, columns, ["name"], geometry_type="Polygon", crs="EPSG:25833")
    path.with_suffix(".prj").write_text(prj)
    return path


def told(source: Path | list[InlineArea], crs: str | None = None) -> tuple[list[Area], list[Notice]]:
    notices: list[Notice] = []
    return read(source, crs=crs, on_notice=notices.append), notices


def unwanted(notice: Notice) -> None:
    pytest.fail(notice.text)


def inline(shape: Polygon) -> list[InlineArea]:
    return [InlineArea(name="Field", wkt=shape.wkt)]


def off(area: Area, shape: Polygon = FIELD) -> float:
    """Degrees between an area and the place that it has; 1e-8 are a millimetre."""
    return float(shapely.hausdorff_distance(area.polygon, shape))


# ---- a file whose CRS has no datum ------------------------------------------------------------------------


def test_a_field_whose_prj_names_no_datum(bug_cases: Path) -> None:
    config = Config.load(bug_cases / "01-prj-without-datum" / "c.toml")
    with pytest.raises(AreaError, match=r"fields\.shp: .* has no datum, .* set crs in the config, such as"):
        load(config)
    notices: list[Notice] = []
    (area,) = load(config.model_copy(update={"crs": "EPSG:31468"}), notices.append)
    assert off(area) < 2e-8, "2 mm"
    (notice,) = notices
    assert "the CRS of the file is unnamed, by which the areas would lie 194 m away" in notice.text
    assert "EPSG:31468 applies" in notice.text
    assert not notice.grave


@pytest.mark.parametrize(
    "datum", ["D_unknown", "unknown", "Unknown_based_on_Bessel_1841_ellipsoid", "D_Bessel_1841"]
)
def test_gauss_kruger_without_a_datum_is_refused_until_crs_is_set(tmp_path: Path, datum: str) -> None:
    file = shapefile(tmp_path / "a.shp", moved(FIELD, "EPSG:31468"), GAUSS.format(datum))
    with pytest.raises(AreaError, match=r"a\.shp: its CRS .* has no datum, .* set crs in the config, such as"):
        read(file)
    (area,), (notice,) = told(file, "EPSG:31468")
    assert off(area) < 1e-8
    assert "EPSG:31468 applies" in notice.text


def test_utm_without_a_datum_is_refused_until_crs_is_set(tmp_path: Path) -> None:
    file = shapefile(tmp_path / "a.shp", moved(FIELD, "EPSG:25833"), UTM.format("D_unknown"))
    with pytest.raises(AreaError, match="has no datum"):
        read(file)
    (area,), notices = told(file, "EPSG:25833")
    assert off(area) < 1e-8
    assert not notices, "both do the same with these points"
    (area,), (notice,) = told(file, "EPSG:23033")
    assert off(area) > 1e-3, "the user said so"
    assert "EPSG:23033 applies" in notice.text
    known = shapefile(tmp_path / "b.shp", moved(FIELD, "EPSG:25833"), UTM.format("D_ETRS_1989"))
    assert read(known, on_notice=unwanted) == read(inline(moved(FIELD, "EPSG:25833")), crs="EPSG:25833")


NOWHERE = 'GEOGCS["Undefined geographic SRS",DATUM["unknown",SPHEROID["unknown",6378137,298.257223563]]]'
"""What GDAL makes of GeoPackage's CRS 0. To PROJ it is the same as WGS 84."""


@pytest.mark.parametrize("crs", ["EPSG:4019", "EPSG:4004", "+proj=longlat +ellps=WGS84", NOWHERE])
def test_geojson_without_a_datum_is_refused_until_crs_is_set(tmp_path: Path, crs: str) -> None:
    file = geojson(tmp_path / "a.geojson", {"Field": FIELD}, crs)
    with pytest.raises(AreaError, match="has no datum"):
        read(file)
    assert read(file, crs="EPSG:4326", on_notice=lambda _: None) == read(inline(FIELD))


def test_who_asks_for_a_crs_without_a_datum_is_told_that_it_names_none() -> None:
    (area,), (notice,) = told(inline(FIELD), "EPSG:4004")
    assert off(area) < 1e-8
    assert notice.grave
    assert "areas: 1 area may be hundreds of metres off, because Unknown datum based upon" in notice.text
    assert "(EPSG:4004) has no datum: Field; " in notice.text


# ---- places in doubt ----------------------------------------------------------------------------------------


def test_a_grid_of_taiwan_of_which_no_shift_is_known(bug_cases: Path) -> None:
    notices: list[Notice] = []
    (area,) = load(Config.load(bug_cases / "02-crs-ballpark-only" / "c.toml"), notices.append)
    (notice,) = notices
    assert notice.grave
    assert notice.text.isprintable()
    assert "twd67.geojson: 1 area may be hundreds of metres off, because PROJ has no datum shift" in notice.text
    assert "TWD67 / TM2 zone 121 (EPSG:3828)" in notice.text
    assert "; convert the areas to EPSG:4326" in notice.text
    assert area.name == "Paddy"


def test_a_rough_way_is_told_with_its_metres_and_with_what_would_be_better() -> None:
    massawa = moved(shapely.box(39, 15, 39.01, 15.01), "EPSG:26237")
    _, (notice,) = told(inline(massawa), "EPSG:26237")
    assert notice.grave
    assert "may be 44 m off, which is PROJ's accuracy from Massawa / UTM zone 37N (EPSG:26237)" in notice.text
    hawaii = moved(shapely.box(-155.5, 19.5, -155.49, 19.51), "EPSG:4135")
    _, (notice,) = told(inline(hawaii), "EPSG:4135")
    if "m off" in notice.text:  # without PROJ's grids
        assert "install better grids for PROJ (pyproj sync --file " in notice.text


def test_only_the_areas_that_are_in_doubt_are_named(tmp_path: Path) -> None:
    def box(lon: float, lat: float) -> Polygon:
        return shapely.box(lon, lat, lon + 0.01, lat + 0.01)

    good, far = box(108.5, 36), box(75, 40)
    shapes = {"Good": good} | {f"Far {number}": box(75 + number / 10, 40) for number in range(6)}
    _, (notice,) = told(geojson(tmp_path / "a.geojson", shapes, "EPSG:4214"))
    assert "6 of 7 areas may be hundreds of metres off" in notice.text
    assert ": Far 0, Far 1, Far 2, Far 3, Far 4, ...; " in notice.text
    both = {"Both": MultiPolygon([good, far])}
    _, (notice,) = told(geojson(tmp_path / "b.geojson", both, "EPSG:4214"))
    assert "1 area may be" in notice.text
    assert read(geojson(tmp_path / "c.geojson", {"Good": good}, "EPSG:4214"), on_notice=unwanted)


def test_odd_names_stay_on_one_line(tmp_path: Path) -> None:
    file = geojson(tmp_path / "a\nb.geojson", {"x\n\x1b[2J": shapely.box(121, 24, 121.1, 24.1)}, "EPSG:3821")
    _, (notice,) = told(file)
    assert notice.text.isprintable()


# ---- the config's CRS and the file's -------------------------------------------------------------------------


def test_crs_wins_over_a_wrong_file_and_says_so(tmp_path: Path) -> None:
    for file in (
        geojson(tmp_path / "a.geojson", {"Field": moved(FIELD, "EPSG:25833")}, "urn:ogc:def:crs:EPSG::25832"),
        shapefile(tmp_path / "a.shp", moved(FIELD, "EPSG:25833"), CRS.from_epsg(25832).to_wkt("WKT1_ESRI")),
    ):
        assert off(read(file)[0]) > 5, "the next zone"
        (area,), (notice,) = told(file, "EPSG:25833")
        assert off(area) < 1e-8
        assert notice.text.startswith(f"{file}: the CRS of the file is EPSG:25832, by which")
        assert notice.text.endswith(" m away; EPSG:25833 applies, because crs in the config sets it")
        assert not notice.grave


@pytest.mark.parametrize(
    ("own", "asked"),
    [
        (CRS.from_epsg(25833).to_wkt("WKT1_ESRI"), "EPSG:25833"),
        (CRS.from_epsg(31468).to_wkt("WKT1_ESRI"), "EPSG:31468"),
        (CRS.from_epsg(31468).to_wkt("WKT1_GDAL"), "EPSG:5678"),  # easting first, northing first
        (CRS.from_epsg(25833).to_wkt(), "EPSG:3045"),
        ("+proj=utm +zone=33 +datum=WGS84", "EPSG:32633"),
        ("EPSG:25833", "EPSG:32633"),  # as PROJ knows no shift between them
        ("EPSG:4258", "EPSG:4326"),
    ],
)
def test_crs_that_do_the_same_are_the_same(tmp_path: Path, own: str, asked: str) -> None:
    file = geojson(tmp_path / "a.geojson", {"Field": moved(FIELD, asked)}, own)
    found = read(file, crs=asked, on_notice=unwanted)
    assert off(found[0]) < 1e-8
    assert off(read(file, on_notice=unwanted)[0]) < 1e-8


@pytest.mark.parametrize("own", ["EPSG:0", "EPSG:5773", "nonsense", 'LOCAL_CS["site",UNIT["Meter",1]]'])
def test_crs_wins_over_what_cannot_be_used(tmp_path: Path, own: str) -> None:
    file = geojson(tmp_path / "a.geojson", {"Field": FIELD}, own)
    with pytest.raises(AreaError, match=r"is not known|is not a geographic|cannot be converted"):
        read(file)
    (area,), (notice,) = told(file, "EPSG:4326")
    assert off(area) < 1e-8
    assert "the CRS of the file cannot be used; EPSG:4326 applies" in notice.text


def test_ewkt_of_a_table_says_the_crs_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"

    def write(*srids: int) -> None:
        shapes = [moved(shapely.box(13 + n, 52, 13.1 + n, 52.1), "EPSG:25833") for n in range(len(srids))]
        rows = [
            f'a{n},"SRID={srid};{shape.wkt}"' for n, (srid, shape) in enumerate(zip(srids, shapes, strict=True))
        ]
        file.write_text("\n".join(["name,wkt", *rows]))

    write(25833, 25833)
    found = read(file, on_notice=unwanted)
    assert shapely.hausdorff_distance(found[0].polygon, shapely.box(13, 52, 13.1, 52.1)) < 2e-9
    assert read(file, crs="EPSG:25833", on_notice=unwanted) == found
    write(25832, 25832)
    again, (notice,) = told(file, "EPSG:25833")
    assert again == found
    assert "the CRS of the file is EPSG:25832" in notice.text
    write(25833, 25832)
    with pytest.raises(AreaError, match=r'a\.csv:3: area "a1": SRID=25832, but the areas are in EPSG:25833'):
        read(file, crs="EPSG:25833")
    write(25833, 3045)
    assert read(file, crs="EPSG:25833", on_notice=unwanted) == found, "one CRS, the axes in another order"


def test_srids_are_compared_by_what_they_do() -> None:
    shape = moved(FIELD, "EPSG:25833")
    tables = [InlineArea(name="Field", wkt=f"SRID=3045;{shape.wkt}")]
    assert read(tables, crs="EPSG:25833", on_notice=unwanted) == read(inline(shape), crs="EPSG:25833")


@pytest.mark.parametrize("code", [32633, 25833, 3857, 4258, 31468, 3828, 5514, 27700, 2180, 3035, 4490])
def test_places_and_fingerprints_are_those_of_proj_alone(code: int) -> None:
    """Whatever is told of them."""
    west, south, _, _ = CRS.from_epsg(code).area_of_use.bounds  # type: ignore[union-attr]
    west, south = max(west, -170) + 1, max(south, -70) + 1
    shape = moved(shapely.box(west, south, west + 0.1, south + 0.1), f"EPSG:{code}")
    there = Transformer.from_crs(f"EPSG:{code}", "OGC:CRS84", always_xy=True)
    wanted = shapely.transform(shape, lambda xy: np.column_stack(there.transform(*xy.T)))
    (area,), _ = told(inline(shape), f"EPSG:{code}")
    assert area.fingerprint == fingerprint(wanted)


def test_proj_fetches_no_grids_when_areas_are_read(server: FaultServer) -> None:
    """Even where the environment wants it to: a run asks no server that the config does not allow."""
    shape = moved(shapely.box(-2, 52, -1.9, 52.1), "EPSG:27700")
    code = (
        "import sys; from s2async.areas.loader import read; from s2async.config.sections import InlineArea;"
        "print(*read([InlineArea(name='F', wkt=sys.argv[1])], crs='EPSG:27700'))"
    )
    environment = {**os.environ, "PROJ_NETWORK": "ON", "PROJ_NETWORK_ENDPOINT": server.origin}
    command = [sys.executable, "-W", "error", "-c", code, shape.wkt]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=True)
    assert done.stdout.strip() == str(*read(inline(shape), crs="EPSG:27700")).replace("'Field'", "'F'")
    assert not server.log


# ---- from Python --------------------------------------------------------------------------------------------


def test_python_is_warned_of_places_in_doubt_and_of_nothing_else(tmp_path: Path) -> None:
    doubtful = {"areas": [{"name": "Field", "wkt": FIELD.wkt}], "crs": "EPSG:4004"}
    with pytest.warns(s2async.PlaceWarning, match="may be hundreds of metres off"):
        s2async.load_areas(doubtful)
    with pytest.warns(PlaceWarning, match="may be hundreds of metres off"):
        load(Config.of(doubtful))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert s2async.load_areas({**doubtful, "crs": "EPSG:4326"})
        file = geojson(tmp_path / "a.geojson", {"Field": FIELD}, "EPSG:25832")
        assert read(file, crs="EPSG:4326"), "a notice, which `on_notice` would hear"
