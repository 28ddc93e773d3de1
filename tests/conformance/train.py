"""Train and export the codec "fixture": `python -m conformance.train`.

New weights make every stream in this folder unreadable. That is allowed while the format is a preview, and never after.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from skimage import data

from conformance.fixture import WEIGHTS, registered
from rarefy.tools import train, weights

RECIPE = Path(__file__).with_name("fixture.toml")


def main() -> None:
    """Train on photographs that come with scikit-image, and write the weights file."""
    with TemporaryDirectory() as folder, registered():
        pictures, run = Path(folder) / "pictures", Path(folder) / "run"
        pictures.mkdir()
        for number, picture in enumerate((data.astronaut(), data.chelsea(), data.coffee())):
            Image.fromarray(picture).save(pictures / f"{number}.png")
        arguments = [str(RECIPE), "--data", str(pictures), "--out", str(run), "--device", "cpu"]
        train.main(arguments)
        weights.main(["export", str(run), "-o", str(WEIGHTS), "--data", str(pictures)])


if __name__ == "__main__":
    main()
