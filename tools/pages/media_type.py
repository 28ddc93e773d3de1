"""What tells the desktop and file(1) what a .rfy file is: a shared-mime-info package and a magic description."""

from rarefy.codecs.header import CODEC_NUMBERS, SIGNATURE, VERSION
from rarefy.tools.pages.commands import FILE_SUFFIX

MEDIA_TYPE = "application/vnd.rarefy"
COMMENT = "rarefy picture or sound"
FLAGS_OFFSET = 5  # whose two highest bits name the medium
MEDIUM_MASK = 0xC0
CODEC_OFFSET = 6  # after signature, version and flags: FORMAT.md, section 4


def mime_package() -> str:
    """Return the XML for `share/mime/packages/`, which update-mime-database reads."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- Written by `make pages`: do not edit. -->
<mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info">
  <mime-type type="{MEDIA_TYPE}">
    <comment>{COMMENT}</comment>
    <generic-icon name="image-x-generic"/>
    <magic priority="80">
      <match type="big32" offset="0" value="0x{SIGNATURE.hex()}"/>
    </magic>
    <glob pattern="*{FILE_SUFFIX}"/>
  </mime-type>
</mime-info>
"""


def magic() -> str:
    """Return the description for file(1): `file -m rarefy.magic photo.rfy`, or a part of /etc/magic."""
    lines = [
        "# rarefy files, for file(1). Written by `make pages`: do not edit.",
        f"0\tubelong\t0x{SIGNATURE.hex()}\trarefy",
        f"!:mime\t{MEDIA_TYPE}",
        f"!:ext\t{FILE_SUFFIX.removeprefix('.')}",
        f">{FLAGS_OFFSET}\tubyte&{MEDIUM_MASK:#x}\t0\tpicture",
        f">{FLAGS_OFFSET}\tubyte&{MEDIUM_MASK:#x}\t0x40\tsound",
        ">4\tubyte\tx\t\\b, format version %u",
    ]
    lines.append(f">4\tubyte\t{VERSION}")
    for name, number in sorted(CODEC_NUMBERS.items(), key=lambda item: item[1]):
        lines.append(f">>{CODEC_OFFSET}\tubyte\t{number}\t\\b, codec {name}")
    lines += [f">>{CODEC_OFFSET}\tubyte\t0", f">>>{CODEC_OFFSET + 1}\tpstring\tx\t\\b, codec %s"]
    return "\n".join([*lines, ""])
