"""`rarefy codecs`: the codecs that are installed, as a table, and which of them lack weights."""

from argparse import Namespace

from rarefy.codecs.registry import CodecEntry, codecs, problems
from rarefy.codecs.weights_files import candidates
from rarefy.tools.commands.output import print_json, print_text
from rarefy.tools.terminal import DONE, Terminal


def run(options: Namespace, terminal: Terminal) -> int:
    """Print one line (or JSON object) per codec; what other packages offer in vain is a warning."""
    for problem in problems():
        terminal.warning(problem)
    entries = sorted(codecs().values(), key=lambda entry: (entry.media, entry.name))
    if options.json:
        for entry in entries:
            facts = {"name": entry.name, "media": entry.media, "summary": entry.summary}
            print_json({**facts, "has_weights": bool(candidates(entry.name))})
        return DONE
    rows = [("codec", "media", "what it is for"), *((entry.name, entry.media, _words(entry)) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    print_text("".join(f"{name:{widths[0]}}  {media:{widths[1]}}  {words}\n" for name, media, words in rows))
    return DONE


def _words(entry: CodecEntry) -> str:
    return entry.summary if candidates(entry.name) else f"{entry.summary} (not usable yet: its weights are not here)"
