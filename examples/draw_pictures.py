"""Draw two pictures that are no photographs, text and a flat drawing: `python examples/draw_pictures.py FOLDER`.

`rarefy bench images FOLDER/text` and `FOLDER/drawing` then say what the image codec does far from photographs.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

TEXT = "The quick brown fox jumps over the lazy dog; 0123456789 (rate, distortion) -> bits per pixel."


def text_page() -> Image.Image:
    """Black text of several sizes on white, 768x512."""
    page = Image.new("RGB", (768, 512), "white")
    draw = ImageDraw.Draw(page)
    y = 10
    for line in range(24):
        size = 11 + line % 4 * 3
        draw.text((12, y), TEXT, fill="black" if line % 5 else "navy", font=ImageFont.load_default(size))
        y += size + 7
    return page


def flat_drawing() -> Image.Image:
    """A few shapes of one colour each, with hard edges, 768x512."""
    page = Image.new("RGB", (768, 512), "#f4ead5")
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 360, 768, 512), fill="#4d8b55")
    draw.polygon([(90, 360), (250, 130), (410, 360)], fill="#7a5c99")
    draw.polygon([(300, 360), (480, 190), (640, 360)], fill="#5a4478")
    draw.ellipse((560, 50, 680, 170), fill="#e8b23a")
    for x in range(60, 740, 85):
        draw.line((x, 500, x + 40, 380), fill="#233d2a", width=5)
    return page


def main(folder: Path) -> None:
    """Write text/text.png and drawing/drawing.png."""
    for name, picture in (("text", text_page()), ("drawing", flat_drawing())):
        (folder / name).mkdir(parents=True, exist_ok=True)
        picture.save(folder / name / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
