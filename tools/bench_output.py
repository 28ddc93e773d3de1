"""Where a benchmark's result goes: a table for people on standard output, JSON where it is wanted."""

import json
import sys
from collections.abc import Mapping

from rarefy.tools.files import write_bytes
from rarefy.tools.harness.summary import without_infinities
from rarefy.tools.terminal import STANDARD_STREAM


def to_json(result: Mapping[str, object]) -> bytes:
    """Return a result as JSON; numbers that are not finite, such as the PSNR of equal pictures, become null."""
    return json.dumps(without_infinities(dict(result)), indent=1, allow_nan=False).encode() + b"\n"


def write_result(result: Mapping[str, object], table: str, target: str | None) -> None:
    """Print the table; write the JSON where it is wanted, on standard output in place of the table."""
    if target is not None:
        write_bytes(target, to_json(result))
    if target != STANDARD_STREAM:
        sys.stdout.write(table)
