"""`rarefy codecs`: the codecs that are installed, as a table."""

from argparse import Namespace

from rarefy.codecs.registry import codecs, problems
from rarefy.tools.commands.output import print_json, print_text
from rarefy.tools.terminal import DONE, Terminal


def run(options: Namespace, terminal: Terminal) -> int:
    """Print one line (or JSON object) per codec; what other packages offer in vain is a warning."""
    for problem in problems():
        terminal.warning(problem)
    entries = sorted(codecs().values(), key=lambda entry: (entry.media, entry.name))
    if options.json:
        for entry in entries:
            print_json({"name": entry.name, "media": entry.media, "summary": entry.summary})
        return DONE
    rows = [("codec", "media", "what it is for"), *((entry.name, entry.media, entry.summary) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    print_text("".join(f"{name:{widths[0]}}  {media:{widths[1]}}  {summary}\n" for name, media, summary in rows))
    return DONE
