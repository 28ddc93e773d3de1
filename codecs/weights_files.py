"""Where weights files are: told without torch, by name and by what their headers say."""

import os
from functools import cache
from pathlib import Path

from safetensors import SafetensorError, safe_open

from rarefy.codecs.registry import find
from rarefy.errors import WeightsError


def candidates(name: str) -> list[Path]:
    """Weights files of a codec: those of RAREFY_WEIGHTS first, then those that came with the codec."""
    folders = [Path(p) for p in os.environ.get("RAREFY_WEIGHTS", "").split(os.pathsep) if p]
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise WeightsError(f"RAREFY_WEIGHTS names {missing[0]}, which is no folder")
    folders.append(find(name).weights or Path(__file__).parent.parent / "weights")
    paths = [path for folder in folders for path in sorted(folder.glob(f"{name}*.safetensors"))]
    return [path for path in paths if _codec_of(path, path.stat().st_mtime_ns) in (name, None)]


@cache
def _codec_of(path: Path, _changed: int) -> str | None:
    """The codec that a weights file is for: one name may begin like another. None where reading it will tell more."""
    try:
        with safe_open(path, "np") as file:
            return (file.metadata() or {}).get("codec")
    except (OSError, SafetensorError):
        return None
