"""A decode handler for WebDataset: `WebDataset(urls).decode(decoder())`. The package itself is not needed for it."""

from typing import Any

from rarefy.data.decoding import OUTPUTS, decode
from rarefy.errors import OptionError

SUFFIX = ".rfy"
PIXELS = "pixels"


class Decoder:
    """Gives what is in the field `rfy` of a sample; other fields are left to other handlers. May be pickled."""

    def __init__(self, output: str) -> None:
        self.output = output

    def __call__(self, key: str, data: Any) -> Any:
        if not f".{key.lower()}".endswith(SUFFIX) or not isinstance(data, bytes):
            return None
        if self.output == PIXELS:
            from rarefy.codecs import api

            return api.decode(data).to_tensor()
        return decode([data], "auto" if self.output == "latents" else self.output)[0]


def decoder(output: str = "latents") -> Decoder:
    """A handler for WebDataset's `decode`.

    output: "latents" (integers where the codec has them), "integers" (int16 [C, h, w]), "floats" (float32), or "pixels"
    (float32 [C, H, W] in 0..1). One sample at a time: to decode batches in one call, leave the bytes as they are and
    give `rarefy.data.collate` to `batched`. Raises OptionError for another output.
    """
    known = ("latents", PIXELS, *OUTPUTS[1:])
    if output not in known:
        raise OptionError(f"output {output!r}: {', '.join(known)}")
    return Decoder(output)
