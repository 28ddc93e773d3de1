"""Make all conformance streams anew: `python -m conformance`, in the folder tests.

Allowed where the format changes before it is frozen. Afterwards streams are added, never changed.
"""

import json
import sys

from PIL import Image

from conformance.fixture import load
from conformance.streams import FOLDER, LARGEST, STREAMS, as_shown, facts, make, path_of


def main() -> int:
    """Write every stream, what is known of it, and its picture; gives 1 if a stream is too large."""
    codec = load()
    for old in [path for suffix in ("rfy", "json", "png") for path in FOLDER.glob(f"*.{suffix}")]:
        old.unlink()
    sizes = {}
    for name, stream in STREAMS.items():
        data = make(stream, codec)
        sizes[name] = len(data)
        path_of(name, "rfy").write_bytes(data)
        known = {"shows": stream.shows, **facts(data, codec)}
        path_of(name, "json").write_text(json.dumps(known, indent=1) + "\n")
        Image.fromarray(as_shown(codec.decode(data, precision="float32"))).save(path_of(name, "png"), optimize=True)
    print(json.dumps(sizes, indent=1))
    return int(max(sizes.values()) > LARGEST)


if __name__ == "__main__":
    sys.exit(main())
