"""What a sound says of itself: a few texts by name, as libsndfile and Vorbis comments name them."""

from collections.abc import Mapping

TAGS = ("title", "artist", "album", "date", "genre", "tracknumber", "comment", "copyright", "license")
TAG_BYTES = 4096  # of one tag in UTF-8: a long comment, but no picture and no book
_OTHER_NAMES = {"track": "tracknumber", "year": "date", "description": "comment"}  # FFmpeg's and other writers'


def tags_of(found: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Choose the tags that are kept, by their names in lower case, and give notes on those too long to keep.

    What names the encoder of the source is not kept, since it is not true of what is made of it.
    """
    named = {_OTHER_NAMES.get(key.lower(), key.lower()): _plain(value) for key, value in found.items()}
    texts = {name: named[name] for name in TAGS if named.get(name)}
    long = [name for name, text in texts.items() if len(text.encode()) > TAG_BYTES]
    note = (f"tags of more than {TAG_BYTES} bytes are left out: {', '.join(long)}",) if long else ()
    return {name: text for name, text in texts.items() if name not in long}, note


def _plain(text: str) -> str:
    """Take away what ends a text in C, and what is no Unicode."""
    return text.split("\0")[0].encode("utf-8", "replace").decode().strip()
