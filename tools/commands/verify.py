"""`rarefy verify`: check every checksum of files, down to the decoded symbols."""

from argparse import Namespace
from time import perf_counter

from rarefy.tools.commands.inputs import find
from rarefy.tools.commands.output import failure_of, print_json
from rarefy.tools.files import Job, each, read_bytes
from rarefy.tools.terminal import Terminal, readable_size

FILES = frozenset({".rfy"})


def run(options: Namespace, terminal: Terminal) -> int:
    """Check every file, folders included, and return the worst exit code."""
    jobs = [Job(item.source, "") for item in find(options.inputs, FILES, is_recursive=True)]
    whole: list[Job] = []

    def check(job: Job) -> None:
        _verify(job, options, terminal)
        whole.append(job)
        terminal.progress(len(whole), len(jobs))

    worst = each(jobs, check, failure_of(terminal, options.json))
    if len(jobs) > 1:
        terminal.say(f"{len(whole)} of {len(jobs)} files are whole")
    return worst


def _verify(job: Job, options: Namespace, terminal: Terminal) -> None:
    from rarefy.codecs import api  # torch: not before the names are known to be good

    begin = perf_counter()
    data = read_bytes(job.source)
    api.verify(data, threads=options.threads)
    milliseconds = 1000 * (perf_counter() - begin)
    terminal.say(f"{job.source}  {readable_size(len(data))} whole, every symbol checked {milliseconds:.0f} ms")
    if options.json:
        print_json({"source": job.source, "size_bytes": len(data), "is_whole": True, "milliseconds": milliseconds})
