"""Drawn training pictures: stripes, checkerboards, noise, shapes and text.

Photographs alone teach a network nothing about patterns that change from pixel to pixel, and what it then makes of them
can be arbitrarily wrong. A few percent of these keep it sane.
"""

import string

import numpy as np
from numpy.typing import NDArray

SIDE = 512
Pixels = NDArray[np.uint8]


def draw_pictures(count: int, seed: int) -> list[Pixels]:
    """`count` pictures uint8 [SIDE, SIDE, 3], the same for the same seed; every kind in turn."""
    kinds = (_stripes, _checkerboard, _noise, _shapes, _text, _gradients)
    generator = np.random.default_rng(seed)
    return [kinds[i % len(kinds)](generator) for i in range(count)]


def _colours(generator: np.random.Generator, count: int) -> Pixels:
    """Colours [count, 3]: for one picture in two black and white come first."""
    colours = generator.integers(0, 256, (count, 3), dtype=np.uint8)
    if generator.random() < 0.5:
        colours[:2] = generator.permutation(np.array([0, 255], np.uint8))[:, None]
    return colours


def _cell(generator: np.random.Generator) -> int:
    """A width in pixels, small ones often."""
    return round(16 ** generator.random())


def _stripes(generator: np.random.Generator) -> Pixels:
    """Lines along one of four directions; the dark part has a width of its own."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    along = (rows, columns, rows + columns, rows - columns)[generator.integers(4)]
    dark = _cell(generator)
    colours = _colours(generator, 2)
    return colours[(along % (dark + _cell(generator)) < dark).astype(np.intp)]


def _checkerboard(generator: np.random.Generator) -> Pixels:
    rows, columns = np.mgrid[:SIDE, :SIDE] // _cell(generator)
    return _colours(generator, 2)[(rows + columns) % 2]


def _noise(generator: np.random.Generator) -> Pixels:
    """Two colours at random, or any, in cells of one to sixteen pixels."""
    cell = _cell(generator)
    cells = -(-SIDE // cell)
    if generator.random() < 0.5:
        small = _colours(generator, 2)[generator.integers(0, 2, (cells, cells))]
    else:
        small = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    return small.repeat(cell, 0).repeat(cell, 1)[:SIDE, :SIDE]


def _shapes(generator: np.random.Generator) -> Pixels:
    """Flat areas with hard edges and thin lines."""
    from PIL import Image, ImageDraw

    colours = [tuple(c) for c in _colours(generator, 8).tolist()]
    picture = Image.new("RGB", (SIDE, SIDE), colours[0])
    draw = ImageDraw.Draw(picture)
    for _ in range(60):
        x, y = generator.integers(-32, SIDE, 2).tolist()
        width, height = generator.integers(2, 160, 2).tolist()
        colour = colours[generator.integers(len(colours))]
        box = (x, y, x + width, y + height)
        kind = generator.integers(4)
        if kind == 0:
            draw.rectangle(box, fill=colour)
        elif kind == 1:
            draw.ellipse(box, fill=colour)
        elif kind == 2:
            draw.rectangle(box, outline=colour, width=_cell(generator))
        else:
            draw.line(box, fill=colour, width=_cell(generator))
    return np.asarray(picture)


def _text(generator: np.random.Generator) -> Pixels:
    """Lines of random words in one size."""
    from PIL import Image, ImageDraw, ImageFont

    colours = [tuple(c) for c in _colours(generator, 3).tolist()]
    picture = Image.new("RGB", (SIDE, SIDE), colours[0])
    draw = ImageDraw.Draw(picture)
    size = int(generator.integers(9, 30))
    font = ImageFont.load_default(size)
    letters = np.array(list(string.ascii_letters + string.digits + ".,:;()-     "))
    for y in range(4, SIDE, round(1.4 * size)):
        words = "".join(generator.choice(letters, SIDE // 4))
        draw.text((8, y), words, font=font, fill=colours[1 if generator.random() < 0.8 else 2])
    return np.asarray(picture)


def _gradients(generator: np.random.Generator) -> Pixels:
    """A ramp between two colours in a random direction, sometimes in visible steps."""
    first, second = _colours(generator, 2).astype(np.float64)
    turn = generator.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    ramp = np.cos(turn) * rows + np.sin(turn) * columns
    ramp = (ramp - ramp.min()) / np.ptp(ramp)
    if generator.random() < 0.5:
        steps = generator.integers(2, 64)
        ramp = np.floor(ramp * steps) / steps
    return np.rint(first + ramp[:, :, None] * (second - first)).astype(np.uint8)
