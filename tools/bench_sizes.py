"""Where the bytes of a file of rarefy go."""

from typing import TYPE_CHECKING

from rarefy.codecs import container
from rarefy.codecs.container import LATENTS, read_info
from rarefy.codecs.grid import divided, extents

if TYPE_CHECKING:
    from rarefy.codecs.base import Codec
    from rarefy.entropy.hyperprior import Hyperprior

HYPER_LATENTS = "hyper-latents"


def size_parts(data: bytes, codec: "Codec") -> dict[str, int]:
    """Return the bytes of a file of rarefy by section, the rest (header, lengths, checksums) as `header`.

    Hyper-latents and latents share a stream: it is divided by the information content of the former.
    """
    from rarefy.entropy.hyperprior import Hyperprior

    info = read_info(data)
    sections = info.sections | info.metadata
    parts = {"header": len(data) - sum(sections.values()), **sections}
    if isinstance(codec.bottleneck, Hyperprior):
        hyper_latents = round(_hyper_latent_bits(data, codec, codec.bottleneck) / 8)
        parts |= {HYPER_LATENTS: hyper_latents, LATENTS: parts[LATENTS] - hyper_latents}
    return parts


def _hyper_latent_bits(data: bytes, codec: "Codec", bottleneck: "Hyperprior") -> float:
    from rarefy.entropy.coding import Coded, hyper_latent_bits

    file = container.read(data)
    bits = 0.0
    for number, unit in enumerate(file.units):
        height, width = extents(divided(file.header.grid.box(number), codec.stride))
        coded = Coded(unit.sections[LATENTS], unit.checksum)
        bits += hyper_latent_bits(bottleneck, coded, (height, width), file.header.quality)
    return bits
