"""Degrees and GPS tags against published points."""

from fractions import Fraction

import pytest
from PIL import Image

from geograph_types.rows.places import degrees_of, gps_of, is_in_ireland, point_of, viewpoint_of
from grid_geograph import format_grid_ref, square_of

# Published in both systems: degrees (ETRS89 or WGS 84) and metres. pyproj without shift grids is within 5 m.
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


def photo_with_gps(path, latitude, latitude_ref, longitude, longitude_ref):
    image = Image.new("RGB", (8, 8))
    exif = image.getexif()
    exif.get_ifd(0x8825).update({1: latitude_ref, 2: latitude, 3: longitude_ref, 4: longitude})
    image.save(path, exif=exif)
    return path


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


def test_no_gps(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert viewpoint_of(tmp_path / "a.png") is None


def test_abroad_is_no_viewpoint(tmp_path):
    assert viewpoint_of(photo_with_gps(tmp_path / "a.jpg", (48, 51, 0), "N", (2, 21, 0), "E")) is None


def test_formats_what_degrees_gave():
    assert format_grid_ref(point_of(52.657977, 1.716052)).startswith("TG 514")
