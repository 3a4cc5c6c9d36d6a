"""Grid references against published examples, and by property."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid_geograph import (
    EXTENT,
    HUNDRED_KM,
    GridPoint,
    bucket_of,
    distance_between,
    distance_bin,
    format_grid_ref,
    is_cross_grid,
    parse_grid_ref,
    square_of,
)


@st.composite
def points(draw, precisions=(10_000, 1000, 100, 10, 1)):
    grid = draw(st.sampled_from(sorted(EXTENT)))
    precision = draw(st.sampled_from(precisions))
    east, north = (draw(st.integers(0, n * HUNDRED_KM // precision - 1)) * precision for n in EXTENT[grid])
    return GridPoint(grid, east, north, precision)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TG 51409 13177", GridPoint("GB", 651409, 313177, 1)),  # Ordnance Survey's worked example
        ("TQ 3003 8048", GridPoint("GB", 530030, 180480, 10)),
        ("NN166712", GridPoint("GB", 216600, 771200, 100)),  # Ben Nevis
        ("SV 80 10", GridPoint("GB", 80000, 10000, 1000)),  # Scilly
        ("hp 6 1", GridPoint("GB", 460000, 1210000, 10000)),  # Unst
        ("O 15904 34671", GridPoint("IE", 315904, 234671, 1)),  # Dublin, Ordnance Survey Ireland's example
        ("V 803 844", GridPoint("IE", 80300, 84400, 100)),  # Carrauntoohil
        ("j3374", GridPoint("IE", 333000, 374000, 1000)),  # Belfast
    ],
)
def test_published_references(text, expected):
    point = parse_grid_ref(text)
    assert point == expected
    easting, northing, precision = point
    assert (easting, northing, precision) == (expected.easting, expected.northing, expected.precision)


@pytest.mark.parametrize(
    "text",
    ["", "TQ", "TQ 300 8048", "TQ 30038", "IA 1234", "AA 1234", "I 1234", "TQX 3080", "3003 8048", "TQ 123456 123456"],
)
def test_refuses_what_is_none(text):
    with pytest.raises(ValueError, match=r"grid|letters"):
        parse_grid_ref(text)


@given(points())
def test_parse_gives_back_what_format_wrote(point):
    assert parse_grid_ref(format_grid_ref(point)) == point
    assert parse_grid_ref(format_grid_ref(point, spaces=False).lower()) == point


@given(points((100, 10, 1)), points((100, 10, 1)))
def test_distance_is_symmetric(a, b):
    assert distance_between(a, b) == distance_between(b, a)
    assert (distance_between(a, b) is None) == (a.grid != b.grid)
    assert distance_between(a, a) == 0


def test_distance_is_the_sites_own():
    subject, viewpoint = parse_grid_ref("TQ 3003 8048"), parse_grid_ref("TQ 3011 8062")
    assert distance_between(subject, viewpoint) == pytest.approx(math.hypot(80, 140))
    assert distance_between(subject, parse_grid_ref("TQ 30 80")) == pytest.approx(math.hypot(30, 480))
    assert distance_between(parse_grid_ref("TQ 30 80"), viewpoint) is None  # the site stores no such subject
    assert distance_between(subject, parse_grid_ref("TQ 3 8")) is None
    assert distance_between(None, viewpoint) is None
    assert distance_between(subject, parse_grid_ref("O 159 346")) is None


@given(st.floats(0, 3e6), st.floats(0, 3e6))
def test_buckets_grow_with_metres(a, b):
    low, high = sorted((a, b))
    assert 0 <= bucket_of(low) <= bucket_of(high) <= 21
    assert bucket_of(distance_bin(a)) == bucket_of(a)


def test_buckets():
    assert [bucket_of(x) for x in ("", 0, "0", None, "Unknown", 1, "16", 31.9, 32, 2**20)] == [
        0, 0, 0, 22, 22, 1, 5, 5, 6, 21,
    ]  # fmt: skip
    assert [bucket_of(2**i) for i in range(21)] == list(range(1, 22))
    assert [distance_bin(x) for x in (0, 1, 31, 300, None)] == ["", "1", "16", "256", "Unknown"]
    for wrong in (-1, math.nan, math.inf, "near"):
        with pytest.raises(ValueError, match="distance"):
            bucket_of(wrong)


@pytest.mark.parametrize(
    ("subject", "viewpoint", "expected"),
    [
        ("TQ 3003 8048", "TQ 3011 8062", False),
        ("TQ 3003 8048", "TQ 3100 8048", True),
        ("TQ 3099 8048", "TQ 3100 8048", True),  # 10 m apart, no tolerance
        ("TQ 30 80", "TQ 30999 80999", False),
        ("TQ 3 8", "TQ 3011 8062", None),
        ("O 1590 3467", "TQ 3011 8062", True),  # never the same square
        (None, "TQ 3011 8062", None),
    ],
)
def test_cross_grid(subject, viewpoint, expected):
    subject, viewpoint = (None if text is None else parse_grid_ref(text) for text in (subject, viewpoint))
    assert is_cross_grid(subject, viewpoint) is expected
    assert is_cross_grid(viewpoint, subject) is expected


def test_squares():
    assert square_of(parse_grid_ref("TQ 3003 8048")) == "TQ3080"
    assert square_of(parse_grid_ref("O 15904 34671")) == "O1534"
    assert square_of(parse_grid_ref("TQ 3 8")) is None
