"""`rarefy codecs`: the codecs that are installed, as a table."""

import sys
from argparse import Namespace

from rarefy.codecs.registry import codecs
from rarefy.tools.commands.output import print_json
from rarefy.tools.terminal import DONE, Terminal


def run(options: Namespace, terminal: Terminal) -> int:
    """Print one line (or JSON object) per codec."""
    entries = sorted(codecs().values(), key=lambda entry: (entry.media, entry.name))
    if options.json:
        for entry in entries:
            print_json({"name": entry.name, "media": entry.media, "summary": entry.summary})
        return DONE
    rows = [("codec", "media", "what it is for"), *((entry.name, entry.media, entry.summary) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, media, summary in rows:
        sys.stdout.write(f"{name:{widths[0]}}  {media:{widths[1]}}  {summary}\n")
    return DONE
