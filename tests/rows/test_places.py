"""Degrees and GPS tags against published points."""

import math
from fractions import Fraction

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from benchmarks.places import POINTS, differences
from degrees_geograph import project
from geograph_types.rows.places import degrees_of, gps_of, is_in_ireland, point_of, viewpoint_of, viewpoint_or_note
from grid_geograph import format_grid_ref, square_of
from places_geograph import as_point
from tests.support.photo_factory import photo_with_gps

# Published in both systems: degrees (ETRS89 or WGS 84) and metres. The Helmert shift is within 5 m.
KNOWN = [
    (52.657977, 1.716052, "GB", 651409, 313177),  # Ordnance Survey's worked example, a point in Norfolk
    (53.349800, -6.260260, "IE", 315904, 234671),  # the Spire, Dublin
]


@pytest.mark.parametrize(("latitude", "longitude", "grid", "easting", "northing"), KNOWN)
def test_published_points(latitude, longitude, grid, easting, northing):
    point = point_of(latitude, longitude)
    assert point.grid == grid
    assert abs(point.easting - easting) < 6
    assert abs(point.northing - northing) < 6
    assert degrees_of(point) == pytest.approx((latitude, longitude), abs=2e-5)


@pytest.mark.parametrize(
    ("latitude", "longitude", "irish"),
    [
        (54.597, -5.930, True),  # Belfast
        (54.645, -5.535, True),  # Donaghadee
        (55.29, -6.20, True),  # Rathlin
        (51.89, -8.47, True),  # Cork
        (55.37, -7.38, True),  # Malin Head
        (52.17, -6.36, True),  # Carnsore Point
        (54.15, -4.48, False),  # Douglas, Isle of Man
        (55.31, -5.80, False),  # Mull of Kintyre
        (54.84, -5.12, False),  # Stranraer
        (55.78, -6.20, False),  # Islay
        (51.88, -5.31, False),  # Ramsey Island, Wales
        (53.31, -4.69, False),  # Holyhead
        (49.91, -6.31, False),  # Scilly
    ],
)
def test_which_island(latitude, longitude, irish):
    assert is_in_ireland(latitude, longitude) is irish
    assert point_of(latitude, longitude).grid == ("IE" if irish else "GB")


@pytest.mark.parametrize(("latitude", "longitude"), [(48.85, 2.35), (91, 0), (0, 0), (float("nan"), 0), ("52", 1)])
def test_refuses_places_elsewhere(latitude, longitude):
    with pytest.raises(ValueError, match=r"degrees|neither"):
        point_of(latitude, longitude)


@pytest.mark.parametrize(
    ("latitude", "longitude", "hint"),
    [
        (50.95, 1.86, "neither Britain nor Ireland"),  # Calais
        (49.45, -2.54, "neither"),  # Guernsey
        (50.0, -9.0, "neither"),  # open Atlantic
        (57.0, -12.0, "neither"),
        (-0.1283, 51.5074, "latitude comes first: 51.5074, -0.1283"),
        (53.35, 6.26, "a longitude west of Greenwich is negative"),
    ],
)
def test_off_both_grids_is_said(latitude, longitude, hint):
    with pytest.raises(ValueError, match=hint):
        point_of(latitude, longitude)


def test_degrees_are_the_sites_own_everywhere():
    """The site's Helmert shift, written out in PROJ: never its grids, which some machines have and others lack."""
    pyproj = pytest.importorskip("pyproj")
    shift = "x=446.448 y=-125.157 z=542.06 rx=0.1502 ry=0.247 rz=0.8421 s=-20.4894 convention=position_vector"
    british = pyproj.Transformer.from_pipeline(
        "proj=pipeline step proj=unitconvert xy_in=deg xy_out=rad step proj=push v_3 step proj=cart ellps=WGS84 "
        f"step inv proj=helmert {shift} step inv proj=cart ellps=airy step proj=pop v_3 "
        "step proj=tmerc lat_0=49 lon_0=-2 k=0.9996012717 x_0=400000 y_0=-100000 ellps=airy"
    )
    for latitude, longitude, *_ in POINTS:
        expected = british.transform(longitude, latitude)
        assert project(latitude, longitude, "GB") == pytest.approx(expected, abs=0.02)


def test_the_accuracy_that_the_page_states():
    lengths = sorted(math.hypot(*pair) for pair in differences())
    assert lengths[len(lengths) // 2] < 2 and lengths[-1] < 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TQ 30.80", "TQ3080"),
        ("TQ3080.", "TQ3080"),
        ("[TQ3080]", "TQ3080"),
        ("(tq3080)", "TQ3080"),
        ("\u200bTQ3080\ufeff", "TQ3080"),
        ("ＴＱ３０８０", "TQ3080"),
        ("TQ 300 804 [100m precision]", "TQ300804"),
        ("TQ 300\u00a0804", "TQ300804"),
        ("Grid Ref: TQ 300/804", "TQ300804"),
        ("near TQ 300 804 in London", "TQ300804"),
        ("TQ30038048, Whitehall (London)", "TQ30038048"),
        ("near O 159 346, Dublin", "O159346"),
        ("51:30.3884N 0:7.6893W", "TQ3000680276"),
        ("51.5074° N, 0.1283° W", "TQ2999480379"),
        ("51.5074, -0.1283", "TQ2999480379"),
        ("51.5074 −0.1283", "TQ2999480379"),
        ("51,5074 -0,1283", "TQ2999480379"),
        ("0.1283W 51.5074N", "TQ2999480379"),
        ("N51.5074 W0.1283", "TQ2999480379"),
        ("lat 51.5074 lon -0.1283", "TQ2999480379"),
        ("Longitude: -0.1283, Latitude: 51.5074", "TQ2999480379"),
        ("https://maps.google.com/?q=51.5074,-0.1283", "TQ2999480379"),
        ("51°30'26\"N 0°7'42\"W", "TQ2999280359"),
        ("51º 30′ 26″ N, 0º 7′ 42″ W", "TQ2999280359"),
        ("51d30m26sN 0d7m42sW", "TQ2999280359"),
        ("530000,180000", "TQ3000080000"),
        ("E 530000 N 180000", "TQ3000080000"),
        ("British 315000,234000", "SO1500034000"),
        ("Irish 315000 234000", "O1500034000"),
    ],
)
def test_places_as_people_write_them(text, expected):
    assert format_grid_ref(as_point(text), spaces=False) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hello", r'"TQ 3003 8048".*latitude and longitude.*easting and northing'),
        ("the A1234 road", "is no place"),
        ("SE10 9NF", "is no place"),
        ("TQ 3003 8048 5", "is no place|digits"),
        ("SU1234 to SU1335", "names 2 grid references"),
        ("315000,234000", "on the British and on the Irish grid; say which"),
        ("ITM 715830 734697", "ITM are not taken"),
        ("51:30:26, 0:7:42", "east or west"),
        ("-0.1283W 51.5N", "is no place"),
        ("E 123 456", "square E of the Irish grid is only sea"),
        ("NE 1234", "square NE of the British grid is only sea"),
        ("WA 1234", "the grid has no square WA"),
        ("48.85, 2.35", "neither Britain nor Ireland"),
        ("TQ " * 100, "is no place"),
    ],
)
def test_what_is_no_place_or_could_be_two(text, why):
    with pytest.raises(ValueError, match=why) as caught:
        as_point(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_nothing_is_no_place():
    assert [as_point(place) for place in (None, "", "  ", "\u200b", float("nan"))] == [None] * 5


def test_gps_tag(tmp_path):
    path = photo_with_gps(tmp_path / "a.jpg", (51, 30, Fraction(2834, 100)), "N", (0, 7, Fraction(4000, 100)), "W")
    latitude, longitude = gps_of(path)
    assert latitude == pytest.approx(51 + 30 / 60 + 28.34 / 3600, abs=1e-5)
    assert longitude == pytest.approx(-(7 / 60 + 40 / 3600), abs=1e-5)
    assert square_of(viewpoint_of(path)) == "TQ3080"
    with Image.open(path) as image:
        assert gps_of(image) == (latitude, longitude)


@pytest.mark.parametrize("latitude", [(0, 0, 0), (99, 0, 0)])
def test_broken_gps_is_none(tmp_path, latitude):
    longitude = (0, 0, 0) if latitude == (0, 0, 0) else (1, 0, 0)
    assert gps_of(photo_with_gps(tmp_path / "a.jpg", latitude, "N", longitude, "E")) is None


def test_gps_in_a_tiff_by_its_path(tmp_path):
    path = photo_with_gps(tmp_path / "a.tif", (51, 30, 28), "N", (0, 7, 40), "W")
    assert square_of(viewpoint_of(path)) == "TQ3080"
    assert gps_of(path) == gps_of(path.read_bytes())


@pytest.mark.parametrize(
    ("latitude", "latitude_ref", "longitude", "longitude_ref"),
    [
        ((51, 30, 0), "", (0, 7, 0), "W"),
        ((51, 30, 0), "N", (0, 7, 0), ""),
        ((51, 30, 0), "N", (0, 7, 0), "X"),
        ((51, 70, 0), "N", (0, 7, 0), "W"),
        ((51, 30, IFDRational(1, 0)), "N", (0, 7, 0), "W"),
    ],
)
def test_gps_that_leaves_something_open_says_nothing(tmp_path, latitude, latitude_ref, longitude, longitude_ref):
    assert gps_of(photo_with_gps(tmp_path / "a.jpg", latitude, latitude_ref, longitude, longitude_ref)) is None


def test_single_rationals(tmp_path):
    path = photo_with_gps(tmp_path / "a.jpg", IFDRational(515, 10), "N", IFDRational(1, 8), "W")
    assert gps_of(path) == pytest.approx((51.5, -0.125))


def test_abroad_is_said(tmp_path):
    path = photo_with_gps(tmp_path / "a.jpg", (48, 51, 0), "N", (2, 21, 0), "E")
    assert viewpoint_or_note(path) == (
        None,
        "its GPS tag (48.8500, 2.3500) lies in neither Britain nor Ireland",
    )


def test_a_broken_exif_block_says_nothing(tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "m.png", exif=b"Exif\0\0garbage!")
    Image.new("RGB", (60, 40)).save(tmp_path / "m.jpg", exif=b"Exif\0\0II*\0\xff\xff\0\0")
    for name in ("m.png", "m.jpg"):
        assert gps_of(tmp_path / name) is None and viewpoint_of((tmp_path / name).read_bytes()) is None


def test_no_gps(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert viewpoint_of(tmp_path / "a.png") is None


def test_abroad_is_no_viewpoint(tmp_path):
    assert viewpoint_of(photo_with_gps(tmp_path / "a.jpg", (48, 51, 0), "N", (2, 21, 0), "E")) is None


def test_formats_what_degrees_gave():
    assert format_grid_ref(point_of(52.657977, 1.716052)).startswith("TG 514")
