"""What a sound says of itself: a few texts by name, as libsndfile and Vorbis comments name them."""

from collections.abc import Mapping

from rarefy.codecs.fields import Cursor, name_bytes, varint
from rarefy.errors import FormatError

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


def tag_bytes(tags: Mapping[str, str]) -> bytes:
    """Spell tags for a file of ours: the name, the size in bytes and the text in UTF-8 of each, by their names."""
    texts = {name: text.encode() for name, text in sorted(tags.items())}
    return b"".join(name_bytes(name) + varint(len(text)) + text for name, text in texts.items())


def read_tags(data: bytes) -> dict[str, str]:
    """Read what `tag_bytes` spelled; names that this version does not know are passed over. Raises FormatError."""
    cursor = Cursor(data, place="the tags", error=FormatError)
    tags: dict[str, str] = {}
    while cursor.remaining:
        name = cursor.name("name")
        text = bytes(cursor.take(cursor.varint("size"), f'text of "{name}"'))
        if name <= max(tags, default=""):
            raise FormatError(f'the tag "{name}" is out of order or there twice: the file is altered')
        try:
            tags[name] = text.decode()
        except UnicodeDecodeError as error:
            raise FormatError(f'the tag "{name}" is no UTF-8: the file is altered') from error
    return {name: text for name, text in tags.items() if name in TAGS}
