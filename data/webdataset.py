"""A decode handler for WebDataset: `WebDataset(urls).decode(decoder())`. The package itself is not needed for it."""

from typing import Any

import torch
from torch import Tensor

from rarefy.data.decoding import OUTPUTS, decode
from rarefy.errors import OptionError

SUFFIX = ".rfy"
PIXELS, SAMPLES = "pixels", "samples"  # of pictures and of sounds: what the synthesis gives
MEDIA = {PIXELS: "image", SAMPLES: "sound"}


class Decoder:
    """Gives what is in the field `rfy` of a sample; other fields are left to other handlers. May be pickled."""

    def __init__(self, output: str) -> None:
        self.output = output

    def __call__(self, key: str, data: Any) -> Any:
        if not f".{key.lower()}".endswith(SUFFIX) or not isinstance(data, bytes):
            return None
        if self.output in MEDIA:
            return _synthesised(data, self.output)
        return decode([data], "auto" if self.output == "latents" else self.output)[0]


def _synthesised(data: bytes, output: str) -> Tensor:
    from rarefy.codecs import api

    medium = api.open(data).info.medium
    if medium != MEDIA[output]:
        raise OptionError(f"the file has no {output}, it holds {'a sound' if medium == 'sound' else 'a picture'}")
    if output == SAMPLES:
        return torch.from_numpy(api.decode(data).samples)
    pixels: Tensor = api.decode(data).to_tensor()
    return pixels


def decoder(output: str = "latents") -> Decoder:
    """A handler for WebDataset's `decode`.

    output: "latents" (integers where the codec has them), "integers" (int16 [C, h, w], of sounds [C, n]), "floats"
    (float32); or what needs the synthesis: "pixels" of pictures (float32 [C, H, W] in 0..1), "samples" of sounds
    (float32 [channels, n] in -1..1, at the original's rate). One sample at a time: to decode batches in one call, leave
    the bytes as they are and give `rarefy.data.collate` to `batched`. Raises OptionError for another output; so does
    the handler for what the file's medium has not.
    """
    known = ("latents", *MEDIA, *OUTPUTS[1:])
    if output not in known:
        raise OptionError(f"output {output!r}: {', '.join(known)}")
    return Decoder(output)
