"""Which outputs are there already and whole, so that an interrupted batch goes on where it stopped.

An output that is empty or was cut is made again; one that is something else is never taken for ours, nor overwritten.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from rarefy.codecs.container import read_info
from rarefy.errors import MediaError, RarefyError, TruncatedError
from rarefy.tools.files import Job
from rarefy.tools.terminal import STANDARD_STREAM, Refusal

PNG, JPEG, RIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF"


def without_done(
    jobs: Sequence[Job],
    check: Callable[[Path], None],
    skip: Callable[[Job], None],
    fail: Callable[[Job, Exception], int],
) -> tuple[list[Job], int]:
    """Return the jobs that are left to do and the worst exit code of those that cannot be done.

    check: raises TruncatedError for an output that is not whole, another RarefyError for a file of another kind.
    """
    left: list[Job] = []
    worst = 0
    for job in jobs:
        try:
            if is_done(job, check):
                skip(job)
            else:
                left.append(job)
        except (RarefyError, OSError) as error:
            worst = max(worst, fail(job, error))
    return left, worst


def is_done(job: Job, check: Callable[[Path], None]) -> bool:
    """Tell whether the output of a job is there and whole.

    Raises Refusal where a file of another kind has the output's name.
    """
    target = Path(job.target)
    if job.target == STANDARD_STREAM or not target.is_file() or target.stat().st_size == 0:
        return False
    try:
        check(target)
    except TruncatedError:
        return False
    except RarefyError as error:
        raise Refusal(f"{job.target}: exists already and is no output of this command ({error})", "move it") from error
    return True


def check_rarefy_file(path: Path) -> None:
    """Raise TruncatedError for a .rfy file that was cut, another FormatError for what is none."""
    read_info(path)


def check_picture(path: Path) -> None:
    """Raise TruncatedError for a PNG, JPEG or WebP that was cut, MediaError for none of them.

    The ends of files are looked at, not their pixels.
    """
    data = path.read_bytes()
    if data.startswith(PNG):
        is_whole = _has_end_chunk(data)
    elif data.startswith(JPEG):
        is_whole = b"\xff\xd9" in data[_first_scan(data) :]  # cameras put more data behind the picture
    elif data.startswith(RIFF):
        is_whole = len(data) >= 12 and len(data) >= 8 + int.from_bytes(data[4:8], "little")
    else:
        raise MediaError("it is no picture that decoding writes")
    if not is_whole:
        raise TruncatedError("the picture was cut")


def _has_end_chunk(data: bytes) -> bool:
    position = len(PNG)
    while position + 12 <= len(data):
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return False


def _first_scan(data: bytes) -> int:
    """Return where the segments of a JPEG end: a preview inside of them has an end of its own."""
    position = 2
    while position + 4 <= len(data) and data[position : position + 2] != b"\xff\xda":
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return position
