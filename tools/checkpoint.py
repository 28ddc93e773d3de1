"""The weights of a run in and out: floats in 16 bits, in pieces, before an export makes a weights file of them."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rarefy.codecs.weights import read_weights
from rarefy.errors import WeightsError


def start_from(model: nn.Module, path: Path) -> None:
    """Take all weights from a shipped weights file, or from the pieces that a run of the same recipe left in `path`."""
    try:
        if path.is_dir():
            pieces = [load_file(p) for p in sorted(path.glob("weights-*.safetensors"))]
            model.load_state_dict({k: v.float() for piece in pieces for k, v in piece.items()})
        else:
            model.load_state_dict(read_weights(path).state_dict())
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{path}: these weights do not fit the recipe: {error}") from error


def write_weights(model: nn.Module, folder: Path, piece_bytes: int) -> None:
    """Write float16 weights as weights-0.safetensors, weights-1 …, none larger than `piece_bytes`."""
    pieces: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in model.state_dict().items():
        half = tensor.half().cpu().contiguous()
        size += half.nbytes
        if size > piece_bytes:
            pieces.append({})
            size = half.nbytes
        pieces[-1][name] = half
    for number, piece in enumerate(pieces):
        save_file(piece, folder / f"weights-{number}.safetensors")
