"""The weights of a run in and out: floats in 16 bits, in pieces, before an export makes a weights file of them."""

import re
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from rarefy.codecs.unfinished import whole_file
from rarefy.codecs.weights import read_weights
from rarefy.errors import WeightsError
from rarefy.models.layers import PartialBlock

PIECE = re.compile(r"weights-\d+\.safetensors")
TRANSFORMS = {"g_a", "g_s"}  # whose depth may grow
LONGEST_REASON = 300  # of torch's list of all that does not fit


def start_from(model: nn.Module, path: Path, *, grow: bool = False) -> None:
    """Take all weights from a shipped weights file, or from the pieces that a run left in `path`.

    grow: residual blocks of the transforms that the weights lack stay as `model` has them. Zero-started, they change
    nothing before the first step, and so a trained network grows deeper. Everything else must fit; WeightsError says
    what does not.
    """
    found = _read_pieces(path) if path.is_dir() else read_weights(path).state_dict()
    try:
        model.load_state_dict((_of_new_blocks(model, found) if grow else {}) | found)
    except RuntimeError as error:
        first = " ".join(" ".join(str(error).splitlines()[:2]).split())[:LONGEST_REASON]
        raise WeightsError(f"{path}: these weights do not fit the recipe: {first}") from error


def _read_pieces(folder: Path) -> dict[str, Tensor]:
    paths = pieces_in(folder)
    if not paths:
        raise WeightsError(f"{folder}: no weights there")
    found: dict[str, Tensor] = {}
    for path in paths:
        try:
            with safe_open(path, "pt") as piece:
                count = int((piece.metadata() or {}).get("pieces", len(paths)))
                found |= {name: piece.get_tensor(name).float() for name in piece.keys()}  # noqa: SIM118  # no mapping
        except (OSError, ValueError, SafetensorError) as error:
            raise WeightsError(f"{path}: no weights that can be read: {error}") from error
        if count != len(paths):
            raise WeightsError(f"{folder}: {len(paths)} of {count} pieces of weights")
    return found


def pieces_in(folder: Path) -> list[Path]:
    """The files that `write_weights` left in a folder."""
    return sorted(path for path in folder.glob("weights-*.safetensors") if PIECE.fullmatch(path.name))


def _of_new_blocks(model: nn.Module, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The model's own tensors of residual blocks of its transforms of which `found` has nothing."""
    blocks = [f"{name}." for name, module in model.named_modules() if isinstance(module, PartialBlock)]
    transforms = [block for block in blocks if TRANSFORMS & set(block.split("."))]
    new = tuple(block for block in transforms if not any(name.startswith(block) for name in found))
    return {name: tensor for name, tensor in model.state_dict().items() if name.startswith(new)}


def write_weights(model: nn.Module, folder: Path, piece_bytes: int) -> None:
    """Write float16 weights as weights-0.safetensors, weights-1 …, none larger than `piece_bytes`, and no others."""
    pieces: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in model.state_dict().items():
        half = tensor.half().cpu().contiguous()
        size += half.nbytes
        if size > piece_bytes:
            pieces.append({})
            size = half.nbytes
        pieces[-1][name] = half
    paths = [folder / f"weights-{number}.safetensors" for number in range(len(pieces))]
    for path, piece in zip(paths, pieces, strict=True):
        with whole_file(path) as file:
            file.write(save(piece, {"pieces": str(len(pieces))}))
    for earlier in set(pieces_in(folder)) - set(paths):
        earlier.unlink()
