"""A codec for rarefy in a package of its own. What stands here is read by `rarefy codecs`, so it imports no torch."""

from pathlib import Path

from rarefy.codecs.registry import CodecEntry

ENTRY = CodecEntry(
    name="example-blocks",
    media="image",
    summary="an example: the cosine transform of JPEG with a learned entropy model",
    home="rarefy_blocks.codec:BlockCodec",
    weights=Path(__file__).parent,
)
