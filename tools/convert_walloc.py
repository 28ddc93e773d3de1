"""`rarefy weights convert walloc FILE -o OUT --data DIR`: the published weights of WaLLoC as a file of `walloc-rgb`.

A checkpoint of the authors (package walloc 1.2.1) is a `.pth` file, or the same tensors as safetensors, with its
settings in a `.json` file beside it. Every tensor must be known, and none may be missing. The authors have no entropy
coder of their own: contexts for ours are fitted here, on any pictures.
"""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rarefy.codecs.base import Unit
from rarefy.codecs.registry import build
from rarefy.codecs.walloc_authors import WallocRgbCodec
from rarefy.errors import MediaError, UnsupportedError, WeightsError
from rarefy.models.walloc_authors import DILATIONS, LAYERS, AttentionSynthesis, PacketAnalysis, SoundSynthesis
from rarefy.models.wavelets import packets, signal
from rarefy.tools.evaluate import read_pixels
from rarefy.tools.fit_lattice import fit

WEIGHTS_KEY = "model_state_dict"
LARGEST_SIDE = 1024  # of the part of a picture that contexts are fitted on
LARGEST_SETTING = 1 << 16
HALF_LARGEST = torch.finfo(torch.float16).max

# Our names -> the authors'. A name not in here begins like one that is.
PICTURE_NAMES = {
    "g_a.project.": "encoder.0.",
    "g_s.first.": "decoder.1.conv_in.",
    "g_s.attention.norm.": "decoder.1.mid_block.attentions.0.group_norm.",
    "g_s.attention.query.": "decoder.1.mid_block.attentions.0.to_q.",
    "g_s.attention.key.": "decoder.1.mid_block.attentions.0.to_k.",
    "g_s.attention.value.": "decoder.1.mid_block.attentions.0.to_v.",
    "g_s.attention.out.": "decoder.1.mid_block.attentions.0.to_out.0.",
    **{f"g_s.blocks.{n}.": f"decoder.1.mid_block.resnets.{n}." for n in range(2)},
    **{f"g_s.blocks.{n}.": f"decoder.1.up_blocks.0.resnets.{n - 2}." for n in range(2, LAYERS)},
    "g_s.norm.": "decoder.1.conv_norm_out.",
    "g_s.last.": "decoder.1.conv_out.",
}
SOUND_NAMES = {
    "g_a.project.": "encoder.0.",
    "g_s.first.": "decoder.1.conv1.",
    **{f"g_s.stages.{n}.snake.": f"decoder.1.block.{n}.snake1." for n in range(2)},
    **{f"g_s.stages.{n}.conv.": f"decoder.1.block.{n}.conv_t1." for n in range(2)},
    **{
        f"g_s.stages.{n}.units.{unit}.": f"decoder.1.block.{n}.res_unit{unit + 1}."
        for n in range(2)
        for unit in range(len(DILATIONS))
    },
    "g_s.snake.": "decoder.1.snake1.",
    "g_s.last.": "decoder.1.conv2.",
    "g_s.filter.": "post.",
}


class Settings:
    """Stands in for the classes of settings that checkpoints hold as Python objects: attributes, nothing that runs."""


STOOD_IN_FOR = ("__main__.Config", "types.SimpleNamespace")


@dataclass(frozen=True)
class AuthorsConfig:
    """What the authors' `.json` files say of the networks, under their names; what is of training is passed over."""

    channels: int
    J: int
    Nd: int
    latent_dim: int
    latent_bits: int
    lightweight_encode: bool
    post_filter: bool = False


class Networks(NamedTuple):
    """Analysis (without companding) and synthesis of a checkpoint, for pictures or, on one axis, for sound."""

    config: AuthorsConfig
    axes: int
    g_a: PacketAnalysis
    g_s: AttentionSynthesis | SoundSynthesis


def convert(file: Path, pictures: list[Path], steps: int) -> tuple[WallocRgbCodec, float]:
    """A codec with a checkpoint's weights, and contexts fitted to pictures; gives the bits of a latent too.

    Raises WeightsError for what does not fit, UnsupportedError for sound, MediaError for pictures too few or too small.
    """
    config, axes, g_a, g_s = read_networks(file)
    if axes == 1:
        raise UnsupportedError(f"{file}: these weights are for sound, and no codec here takes them yet")
    if config.channels != 3:
        raise UnsupportedError(f"{file}: these weights are for {config.channels} channels, the codec is for 3")
    model = {"latents": config.latent_dim, "levels": config.J, "width": config.Nd, "bits": config.latent_bits}
    codec = build(WallocRgbCodec.name, model)
    assert isinstance(codec, WallocRgbCodec)
    codec.g_a.load_state_dict(g_a.state_dict())
    codec.g_s.load_state_dict(g_s.state_dict())
    _require_halves(codec, file)
    codec.half().float().eval()  # as they will be in the file, so that contexts are fitted to the latents of files
    if not pictures:
        raise MediaError("no pictures to fit the contexts on: name their folder with --data")
    return codec, fit(codec.bottleneck, [_latents(codec, path) for path in pictures], steps)


def _require_halves(codec: nn.Module, file: Path) -> None:
    """Weights files hold 16 bits."""
    for name, tensor in codec.state_dict().items():
        if not tensor.abs().max() <= HALF_LARGEST:
            raise WeightsError(f"{file}: {name} is not finite, or beyond what 16 bits hold")


def _latents(codec: WallocRgbCodec, path: Path) -> Tensor:
    x = read_pixels(path)[:, :, :LARGEST_SIDE, :LARGEST_SIDE].float() / 255
    with torch.no_grad():
        return codec.analysis(x, Unit(0, x.shape[2], x.shape[3])).round()


def read_networks(file: Path) -> Networks:
    """The networks of a checkpoint of the authors, for pictures or sound.

    Raises WeightsError that names all tensors that are unknown, missing or of a wrong shape, UnsupportedError for
    networks of other kinds.
    """
    tensors, config = read_checkpoint(file), read_config(file.with_suffix(".json"))
    if not config.lightweight_encode:
        raise UnsupportedError(f"{file}: these weights have a deep encoder; only those with one linear layer are known")
    axes = 1 if "encoder.0.weight" in tensors and tensors["encoder.0.weight"].dim() == 3 else 2
    networks = _networks(config, axes)
    both = nn.ModuleDict({"g_a": networks.g_a, "g_s": networks.g_s})
    expected = {_renamed(name, PICTURE_NAMES if axes == 2 else SOUND_NAMES): name for name in both.state_dict()}
    wavelets = _wavelets(axes)
    _require_same(file, tensors, {theirs: both.state_dict()[ours] for theirs, ours in expected.items()} | wavelets)
    for name, values in wavelets.items():
        if not torch.allclose(tensors[name].float(), values, atol=1e-5, rtol=0):
            raise WeightsError(f"{file}: {name} holds another wavelet than CDF 9/7")
    both.load_state_dict({ours: tensors[theirs].float() for theirs, ours in expected.items()})
    return networks


def _networks(config: AuthorsConfig, axes: int) -> Networks:
    sizes = (config.channels, config.J, config.latent_dim)
    try:
        g_a = PacketAnalysis(axes, *sizes)
        if axes == 2:
            return Networks(config, axes, g_a, AttentionSynthesis(*sizes, config.Nd))
        return Networks(config, axes, g_a, SoundSynthesis(*sizes, config.Nd, has_filter=config.post_filter))
    except (ValueError, RuntimeError) as error:
        raise WeightsError(f"no networks have the settings {config}: {error}") from error


def _renamed(name: str, names: Mapping[str, str]) -> str:
    prefix = next(prefix for prefix in names if name.startswith(prefix))
    return names[prefix] + name.removeprefix(prefix)


def _wavelets(axes: int) -> dict[str, Tensor]:
    """The filters that checkpoints repeat, as our lifting has them: responses to impulses, away from the border."""
    impulses = torch.eye(16)[:, None]
    bands = packets(impulses, 1, "periodic")[4:14, :, 4].T  # how much each sample gives to the fifth value of a band
    back = torch.stack([signal(x, 1, "periodic")[0, 0, 4:14] for x in torch.eye(16).reshape(16, 1, 2, 8)[[4, 12]]])
    filters = {"wt.h0": bands[0], "wt.h1": bands[1], "iwt.g0": back[0], "iwt.g1": back[1]}
    if axes == 1:
        return {name: values.reshape(1, 1, -1) for name, values in filters.items()}
    shapes = {"col": (1, 1, -1, 1), "row": (1, 1, 1, -1)}
    return {
        f"{name}_{side}": values.reshape(shape) for name, values in filters.items() for side, shape in shapes.items()
    }


def _require_same(file: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    unknown, missing = sorted(found.keys() - expected.keys()), sorted(expected.keys() - found.keys())
    wrong = [
        f"{name} {list(found[name].shape)} instead of {list(expected[name].shape)}"
        for name in sorted(found.keys() & expected.keys())
        if found[name].shape != expected[name].shape
    ]
    flaws = [
        f"{what}: {', '.join(names)}"
        for what, names in (("unknown tensors", unknown), ("missing tensors", missing), ("wrong shapes", wrong))
        if names
    ]
    if flaws:
        raise WeightsError(f"{file}: this is no checkpoint of WaLLoC with these settings; {'; '.join(flaws)}")


def read_config(path: Path) -> AuthorsConfig:
    """The settings of a checkpoint from the `.json` file beside it; raises WeightsError."""
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: the settings of the checkpoint cannot be read: {error}") from error
    facts = known if isinstance(known, dict) else {}
    kinds = {f.name: f.type for f in fields(AuthorsConfig)}
    if missing := sorted(kinds.keys() - facts.keys() - {"post_filter"}):
        raise WeightsError(f"{path}: the settings lack {', '.join(missing)}")
    taken: dict[str, Any] = {name: facts[name] for name in kinds.keys() & facts.keys()}
    for name, value in taken.items():
        if type(value) is not kinds[name] or (kinds[name] is int and not 0 < value <= LARGEST_SETTING):
            raise WeightsError(f"{path}: {name} cannot be {value!r}")
    return AuthorsConfig(**taken)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` or safetensors file; no object of a pickle is built, but for settings without code.

    Raises WeightsError for anything else.
    """
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else _unpickled(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: this checkpoint cannot be read: {error}") from error
    if not all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()):
        raise WeightsError(f"{path}: {WEIGHTS_KEY} holds something else than tensors by name")
    return tensors


def _unpickled(path: Path) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals([(Settings, name) for name in STOOD_IN_FOR]):
            whole = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: {_reason(str(error))}") from error
    except Exception as error:  # a damaged pickle fails in any way
        raise WeightsError(f"{path}: this is no checkpoint, or a damaged one: {error}") from error
    tensors = whole.get(WEIGHTS_KEY) if isinstance(whole, dict) else None
    if not isinstance(tensors, dict):
        raise WeightsError(f'{path}: this checkpoint has no "{WEIGHTS_KEY}"')
    return tensors


def _reason(message: str) -> str:
    _, found, rest = message.partition("GLOBAL ")
    if found:
        return (
            f"the checkpoint wants to build a Python object ({rest.split()[0]}), which may run code: it is not loaded"
        )
    return f"this is no checkpoint, or a damaged one: {' '.join(message.split())[:200]}"
