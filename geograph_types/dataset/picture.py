"""The card's picture: how many rows have each tag. Drawn by Pillow: to load matplotlib takes longer than to write some
fifty thousand rows."""

import math
from pathlib import Path

import numpy as np

from geograph_types.colours import BLUE, GREEN, ORANGE
from geograph_types.rows.splits import SPLITS
from names_geograph import TAGS

SIZE = WIDTH, HEIGHT = 1320, 620  # pixels
LEFT, TOP, RIGHT, BOTTOM = 170, 60, WIDTH - 40, HEIGHT - 80  # where the bars are
BAR, GAP = 17, 9
TEXT, SMALL, BLACK = 20, 14, "#000000"


def draw_tags(path: Path, number: np.ndarray) -> None:
    """Bars of how many rows have each tag, int [splits, tags], on a logarithmic scale: rare drones stay visible."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    text, small = (ImageFont.load_default(size) for size in (TEXT, SMALL))
    decades = math.ceil(_place(number.max()) + 0.6)

    def across(count: int) -> int:
        return LEFT + round((RIGHT - LEFT) * _place(count) / decades)

    draw.text((LEFT, TOP / 2), "Rows with each tag, config large", BLACK, text, "lm")
    for row, tag in enumerate(np.argsort(-number.sum(axis=0), kind="stable")):
        top = TOP + row * (len(SPLITS) * BAR + GAP) + GAP // 2
        draw.text((LEFT - 12, top + len(SPLITS) * BAR / 2), TAGS[tag], BLACK, text, "rm")
        for i, colour in enumerate((BLUE, ORANGE, GREEN)):
            count, y = int(number[i, tag]), top + i * BAR
            draw.rectangle((LEFT, y, across(count), y + BAR - 2), colour)
            draw.text((across(count) + 6, y + BAR / 2 - 1), f"{count:,}", BLACK, small, "lm")
    draw.line((LEFT, TOP, LEFT, BOTTOM, RIGHT, BOTTOM), BLACK)
    for count in (0, *(10**i for i in range(decades))):
        draw.line((across(count), BOTTOM, across(count), BOTTOM + 6), BLACK)
        draw.text((across(count), BOTTOM + 20), f"{count:,}", BLACK, small, "mm")
    draw.text(((LEFT + RIGHT) / 2, HEIGHT - 25), "rows (logarithmic)", BLACK, text, "mm")
    for i, (name, colour) in enumerate(zip(SPLITS, (BLUE, ORANGE, GREEN), strict=True)):
        y = BOTTOM - 110 + 30 * i
        draw.rectangle((RIGHT - 150, y - 7, RIGHT - 115, y + 7), colour)
        draw.text((RIGHT - 105, y), name, BLACK, text, "lm")
    image.quantize(64, Image.Quantize.FASTOCTREE).save(path)


def _place(count: int) -> float:
    """Where a count stands, in decades: none at 0, one at 1, ten at 2."""
    return math.log10(count) + 1 if count else 0.0
