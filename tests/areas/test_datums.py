"""Whether PROJ's places can be trusted: by code, by .prj as files have it, and by where the points lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from pyproj import CRS, Geod, Transformer
from pyproj.network import is_network_enabled, set_network_enabled

from s2async.areas import datums
from s2async.areas.datums import LONLAT, Coordinates, Trust, Way

pytestmark = pytest.mark.slow

BESSEL = 'SPHEROID["Bessel_1841",6377397.155,299.1528128]'
GRS80 = 'SPHEROID["GRS_1980",6378137.0,298.257222101]'
WGS84 = 'SPHEROID["WGS_1984",6378137.0,298.257223563]'


def prj(datum: str, ellipsoid: str = BESSEL, *, zone: int = 4) -> str:
    """A .prj file: a Gauss-Kruger zone, or the UTM zone 33."""
    middle, scale, east = (3 * zone, 1.0, zone * 1e6 + 5e5) if ellipsoid == BESSEL else (15, 0.9996, 5e5)
    return (
        f'PROJCS["x",GEOGCS["y",DATUM["{datum}",{ellipsoid}],PRIMEM["Greenwich",0.0],'
        'UNIT["Degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],'
        f'PARAMETER["False_Easting",{east}],PARAMETER["False_Northing",0.0],'
        f'PARAMETER["Central_Meridian",{middle}.0],PARAMETER["Scale_Factor",{scale}],'
        'PARAMETER["Latitude_Of_Origin",0.0],UNIT["Meter",1.0]]'
    )


def points(crs: CRS, *places: tuple[float, float]) -> Coordinates:
    """Lon/lat of a CRS's own datum, in its coordinates."""
    there = Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
    return np.column_stack(there.transform(*np.array(places).T))


def judged(definition: str, *places: tuple[float, float]) -> datums.Accuracy:
    crs = CRS.from_user_input(definition)
    return Way(crs).assess(points(crs, *places))


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("EPSG:32633", (13.4, 52.5)), ("EPSG:3857", (13.4, 52.5)), ("EPSG:4326", (13.4, 52.5)),
        ("EPSG:25832", (9, 50)), ("EPSG:25833", (13.4, 52.5)), ("EPSG:3035", (10, 50)), ("EPSG:4258", (10, 50)),
        ("EPSG:31468", (12, 50)), ("EPSG:31370", (4.4, 50.8)), ("EPSG:27700", (-2, 52.6)), ("EPSG:28992", (5, 52)),
        ("EPSG:2154", (2.3, 48.9)), ("EPSG:2056", (8, 47)), ("EPSG:31287", (14, 47.5)), ("EPSG:5514", (15, 50)),
        ("EPSG:2180", (19, 52)), ("EPSG:3006", (15, 60)), ("EPSG:3067", (27, 62)), ("EPSG:2100", (23, 38)),
        ("EPSG:2039", (35, 31)), ("EPSG:26910", (-122, 40)), ("EPSG:5070", (-96, 38)), ("EPSG:3979", (-95, 60)),
        ("EPSG:31983", (-45, -20)), ("EPSG:5361", (-70.5, -33)), ("EPSG:7855", (147, -37)),
        ("EPSG:28355", (147, -37)), ("EPSG:2193", (172, -42)), ("EPSG:6677", (139.7, 35.6)),
        ("EPSG:5186", (127, 37)), ("EPSG:3826", (121, 24)), ("EPSG:3405", (105, 21)),
        ("EPSG:2048", (19, -34)), ("EPSG:28406", (33, 55)),
        # of these PROJ has a ballpark way at best, which is right to a metre or so
        ("EPSG:4490", (120, 30)), ("EPSG:4549", (120, 30)), ("EPSG:9300", (-1.5, 52)), ("EPSG:9367", (-2, 53.5)),
        ("EPSG:10286", (10, 50)), ("EPSG:3035", (43, 38)), ("EPSG:5361", (-70.5, -45)), ("EPSG:9549", (6.5, 45.2)),
        ("ESRI:103600", (-93.2, 45.3)),
    ],
)  # fmt: skip
def test_grids_in_use_are_not_doubted(code: str, place: tuple[float, float]) -> None:
    verdict = judged(code, place)
    assert (verdict.trust, verdict.doubtful.tolist()) == (Trust.FINE, [False])


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("EPSG:3828", (121, 24)),  # TWD67: 852 m
        ("EPSG:30493", (3, 36)),  # Voirol 1879
        ("EPSG:2045", (107, 12)),  # Hanoi 1972, south of what PROJ knows of
        ("EPSG:22275", (15.5, -27)),  # Cape, likewise west
        ("EPSG:2327", (75, 40)),  # Xian 1980
        ("EPSG:3408", (0, 80)),  # a sphere
        ("EPSG:6984", (35, 31)),  # GRS 1980, and 78 m off all the same
    ],
)
def test_where_no_shift_is_known_all_is_in_doubt(code: str, place: tuple[float, float]) -> None:
    verdict = judged(code, place)
    assert verdict.trust is Trust.BALLPARK
    assert verdict.metres is None


@pytest.mark.parametrize(
    ("code", "place", "metres"), [("EPSG:26237", (39, 15), 44), ("EPSG:29333", (15, -22), 35)]
)
def test_a_rough_way_tells_its_accuracy(code: str, place: tuple[float, float], metres: float) -> None:
    verdict = judged(code, place)
    assert (verdict.trust, verdict.metres) == (Trust.ROUGH, metres)


def test_an_accuracy_that_nobody_knows_is_in_doubt() -> None:
    verdict = judged("EPSG:3002", (119.5, -4))  # Makassar: 999 m in EPSG's tables
    assert (verdict.trust, verdict.metres) == (Trust.ROUGH, None)


def test_a_stated_accuracy_of_a_datum_of_modern_times_counts_less_than_what_was_done() -> None:
    """PROJ goes there by way of an old datum, whose shifts it knows to 11 m only, forth and back."""
    crs = CRS.from_epsg(5361)
    xy = points(crs, (-70.5, -53))
    transformer = Transformer.from_crs(crs, LONLAT, always_xy=True)
    transformer.transform(*xy[0])
    if transformer.get_last_used_operation().accuracy <= datums.TRUSTED:
        pytest.skip("this PROJ knows a better way")
    assert Way(crs).assess(xy).trust is Trust.FINE


def test_a_datum_of_modern_times_is_in_doubt_where_proj_takes_a_roundabout_way() -> None:
    """By an old datum to there with one shift, and on with another: 18 m off, about Arica."""
    crs = CRS.from_epsg(20049)
    place = (-70, -18.35)
    way, xy = Way(crs), points(crs, place)
    off = Geod(ellps="WGS84").inv(*place, *way.lonlat(xy)[0])[2]
    assert (way.assess(xy).trust is Trust.FINE) is bool(off <= datums.TRUSTED)


@pytest.mark.parametrize(
    "definition",
    [
        prj("D_unknown"),
        prj("D_Unknown", GRS80),
        prj("unknown", WGS84),
        prj(""),
        prj("unnamed"),
        prj("Undefined", GRS80),
        prj("D_User_Defined"),
        prj("D_Bessel_1841"),
        prj("Bessel_1841"),
        prj("D_GRS_1980", GRS80),
        prj("Not_specified_based_on_Bessel_1841_ellipsoid"),
        prj("Unknown based on Bessel 1841 ellipsoid"),
        prj("Unknown datum based upon the Bessel 1841 ellipsoid"),
        "+proj=tmerc +lat_0=0 +lon_0=12 +k=1 +x_0=4500000 +y_0=0 +ellps=bessel +units=m",
        "+proj=utm +zone=33 +ellps=GRS80",
        "+proj=utm +zone=33 +ellps=WGS84",
        "+proj=longlat +ellps=WGS84",
        prj("D_unknown", WGS84),
        "+proj=utm +zone=33 +ellps=intl",
        "+proj=longlat +ellps=bessel",
        "+proj=laea +lat_0=50 +lon_0=10 +R=6371000",
        "EPSG:4019",
        "EPSG:4004",
        "EPSG:2163",
    ],
)
def test_what_names_no_datum_is_found(definition: str) -> None:
    crs = CRS.from_user_input(definition)
    assert Way(crs).assess(points(crs, (13, 52))).trust is Trust.NAMELESS


@pytest.mark.parametrize(
    "definition",
    [
        prj("D_Deutsches_Hauptdreiecksnetz"),
        prj("D_ETRS_1989", GRS80),
        prj("European_Terrestrial_Reference_System_1989", GRS80),
        prj("D_WGS_1984", WGS84),
        prj("WGS_1984", WGS84),
        prj("D_China_2000", 'SPHEROID["CGCS2000",6378137.0,298.257222101]'),
        prj("CGCS2000", 'SPHEROID["CGCS2000",6378137.0,298.257222101]'),
        prj("unknown", BESSEL + ",TOWGS84[598.1,73.7,418.2,0.202,0.045,-2.455,6.7]"),
        "+proj=utm +zone=33 +ellps=intl +towgs84=-87,-98,-121",
        "+proj=utm +zone=33 +datum=WGS84",
        "+proj=merc +a=6378137 +b=6378137 +lat_ts=0 +lon_0=0 +x_0=0 +y_0=0 +k=1 +units=m +nadgrids=@null +no_defs",
        CRS.from_epsg(25833).to_wkt("WKT1_ESRI"),
        CRS.from_epsg(31468).to_wkt("WKT1_GDAL"),
        CRS.from_epsg(25833).to_json(),
        "EPSG:25833+7837",
    ],
)
def test_what_names_a_datum_or_brings_its_shift_along_is_trusted(definition: str) -> None:
    crs = CRS.from_user_input(definition)
    assert Way(crs).assess(points(crs, (13, 52))).trust is Trust.FINE


@pytest.mark.parametrize(
    ("datum", "ellipsoid", "place", "metres"),
    [("VN-2000", WGS84, (106, 16), 190), ("GGRS87", GRS80, (23, 38), 250), ("Israel_1993", GRS80, (35, 31), 60)],
)
def test_shifted_datums_on_a_modern_ellipsoid_are_shifted_or_in_doubt(
    datum: str, ellipsoid: str, place: tuple[float, float], metres: float
) -> None:
    """Whatever they are called: PROJ knows some names as aliases only, and then no shift."""
    way = Way(CRS.from_user_input(prj(datum, ellipsoid)))
    xy = points(way.crs, place)
    shifted = Geod(ellps="WGS84").inv(*place, *way.lonlat(xy)[0])[2]
    assert shifted > metres or way.assess(xy).trust is Trust.BALLPARK


@pytest.mark.parametrize(("datum", "ellipsoid"), [("D_Village_1900", BESSEL), ("D_GGRS", GRS80), ("RGF", WGS84)])
def test_a_datum_that_proj_does_not_know_is_in_doubt(datum: str, ellipsoid: str) -> None:
    """On a modern ellipsoid too: the Greek datum of 1987 has that of GRS 1980, and lies 326 m off."""
    crs = CRS.from_user_input(prj(datum, ellipsoid))
    assert Way(crs).assess(points(crs, (13, 52))).trust is Trust.BALLPARK


# ---- by place ---------------------------------------------------------------------------------------------


def one_by_one(crs: CRS, xy: Coordinates) -> list[Trust]:
    """What is said of each point alone."""
    return [Way(crs).assess(xy[number : number + 1]).trust for number in range(len(xy))]


@pytest.mark.parametrize(
    ("code", "places"),
    [
        ("EPSG:21413", [(75, 40), (108.5, 36), (100, 30), (110, 20)]),  # Beijing 1954: good in a few boxes only
        ("EPSG:2044", [(105, 20.9), (104, 12), (107, 22)]),
        ("EPSG:22275", [(16, -29), (15, -25), (15.2, -28)]),
        ("EPSG:4214", [(108.5, 36), (75, 40), (120, 30)]),
        ("EPSG:4277", [(-2, 52), (-8.5, 60.5), (20, 40)]),
        ("EPSG:4301", [(139, 36), (127, 37), (150, 45)]),
    ],
)
def test_each_point_is_judged_by_the_operation_that_moved_it(
    code: str, places: Sequence[tuple[float, float]]
) -> None:
    crs = CRS.from_user_input(code)
    xy = points(crs, *places)
    transformer = Transformer.from_crs(crs, LONLAT, always_xy=True)
    wanted = []
    for place in xy:
        transformer.transform(*place)
        used = transformer.get_last_used_operation()
        wanted.append("Ballpark" in used.description or used.accuracy > datums.TRUSTED)
    for order in (slice(None), slice(None, None, -1)):
        verdict = Way(crs).assess(np.repeat(xy[order], 3, axis=0))
        assert verdict.doubtful.tolist() == np.repeat(wanted[order], 3).tolist()
    assert Way(crs).assess(xy).trust is max(one_by_one(crs, xy))


def test_the_worst_point_counts_and_the_others_are_left_out() -> None:
    crs = CRS.from_epsg(4214)
    verdict = Way(crs).assess(points(crs, (108.5, 36), (75, 40)))
    assert verdict.trust is Trust.BALLPARK
    assert verdict.doubtful.tolist() == [False, True], "about 108 E, 36 N the shift is known to a metre"


def test_points_without_a_place_are_not_judged() -> None:
    way = Way(CRS.from_epsg(3828))
    nowhere = np.array([[np.inf, 0], [np.nan, np.nan]])
    assert way.assess(nowhere).trust is Trust.FINE
    assert way.assess(np.empty((0, 2))).trust is Trust.FINE
    verdict = way.assess(np.vstack([nowhere, points(way.crs, (121, 24))]))
    assert verdict.doubtful.tolist() == [False, False, True]


def test_places_are_those_of_the_transformer() -> None:
    for code in (25833, 3828, 31468, 27700):
        crs = CRS.from_epsg(code)
        xy = points(crs, (13.4, 52.5), (-2, 52), (121, 24))
        wanted = np.column_stack(Transformer.from_crs(crs, LONLAT, always_xy=True).transform(*xy.T))
        assert np.array_equal(Way(crs).lonlat(xy), wanted)


# ---- two CRS ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("EPSG:25833", CRS.from_epsg(25833).to_wkt("WKT1_ESRI")),
        ("EPSG:31468", CRS.from_epsg(31468).to_wkt("WKT1_ESRI")),
        ("EPSG:4326", "OGC:CRS84"),
        ("EPSG:5677", "EPSG:31467"),
        ("EPSG:25833", prj("D_ETRS_1989", GRS80)),
        ("EPSG:32633", "+proj=tmerc +lat_0=0 +lon_0=15 +k=0.9996 +x_0=500000 +y_0=0 +datum=WGS84 +units=m"),
    ],
)
def test_crs_that_do_the_same_are_not_apart(one: str, other: str) -> None:
    first, second = Way(CRS.from_user_input(one)), Way(CRS.from_user_input(other))
    xy = points(first.crs, (13.4, 52.5), (12.1, 47.3))
    assert datums.apart(first, second, xy) < datums.SAME


def test_crs_that_do_not_are_apart_by_their_distance_on_the_ground() -> None:
    first, second = Way(CRS.from_epsg(31468)), Way(CRS.from_user_input(prj("unknown")))
    xy = points(first.crs, (12.9, 52.47))
    (there,), (other,) = first.lonlat(xy), second.lonlat(xy)
    wanted = Geod(ellps="GRS80").inv(*there, *other)[2]
    assert datums.apart(first, second, xy) == pytest.approx(wanted, abs=0.01)
    assert 150 < wanted < 250
    assert datums.apart(first, Way(CRS.from_epsg(4326)), xy) == np.inf, "metres are no degrees"


# ---- the network ------------------------------------------------------------------------------------------


def test_proj_asks_no_server_and_is_left_as_it_was() -> None:
    before = is_network_enabled()
    try:
        for enabled in (True, False):
            set_network_enabled(active=enabled)
            with datums.offline():
                assert not is_network_enabled()
            assert is_network_enabled() is enabled
            with pytest.raises(KeyError), datums.offline():
                raise KeyError
            assert is_network_enabled() is enabled
    finally:
        set_network_enabled(active=before)
