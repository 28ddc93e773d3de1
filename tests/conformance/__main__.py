"""Make the conformance streams that are not there yet: `python -m conformance`, in the folder tests.

The format is frozen: streams are added, never changed, and one that is there stays as it is.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from conformance import sound_fixture, sound_streams
from conformance.fixture import load
from conformance.streams import LARGEST, STREAMS, as_shown, facts, make, path_of


def main() -> int:
    """Write streams, what is known of each, and its picture or samples; gives 1 if a stream is too large."""
    pictures, sounds = write_pictures(), write_sounds()
    print(json.dumps({"pictures": pictures, "sounds": sounds}, indent=1))
    return int(max([0, *pictures.values()]) > LARGEST or max([0, *sounds.values()]) > sound_streams.LARGEST)


def write_pictures() -> dict[str, int]:
    """Write new pictures; gives their sizes."""
    codec, sizes = load(), {}
    for name, stream in STREAMS.items():
        if not path_of(name, "rfy").exists():
            data = make(stream, codec)
            sizes[name] = len(data)
            _write(path_of(name, "rfy"), data, {"shows": stream.shows, **facts(data, codec)})
            shown = as_shown(codec.decode(data, precision="float32"))
            Image.fromarray(shown).save(path_of(name, "png"), optimize=True)
    return sizes


def write_sounds() -> dict[str, int]:
    """Write new sounds; gives their sizes."""
    codec, sizes = sound_fixture.load(), {}
    for name, stream in sound_streams.STREAMS.items():
        path = sound_streams.path_of(name, "rfy")
        if not path.exists():
            data = sound_streams.make(stream, codec)
            sizes[name] = len(data)
            samples = codec.decode(data, precision="float32").samples
            known = {"shows": stream.shows, "loudness": sound_streams.loudness(samples)}
            _write(path, data, known | sound_streams.facts(data, codec))
            np.save(path.with_suffix(".npy"), sound_streams.kept(samples).astype("<f4"))
    return sizes


def _write(path: Path, data: bytes, known: dict[str, object]) -> None:
    path.write_bytes(data)
    path.with_suffix(".json").write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
