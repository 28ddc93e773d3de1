"""Which outputs are there already and whole, so that an interrupted batch goes on where it stopped.

An output that is empty or was cut is made again; one that is something else is never taken for ours, nor overwritten.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from rarefy.codecs.audio_kinds import kind_of
from rarefy.codecs.container import SIGNATURE, read
from rarefy.codecs.limits import Limits
from rarefy.codecs.picture_ends import ENDS
from rarefy.codecs.picture_kinds import format_of
from rarefy.codecs.suffixes import SOUNDS
from rarefy.errors import FormatError, MediaError, RarefyError, TruncatedError, UnsupportedError
from rarefy.tools.files import Job
from rarefy.tools.terminal import STANDARD_STREAM, Refusal


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
    """Raise TruncatedError for a .rfy file that is not whole, another RarefyError for what is none."""
    data = path.read_bytes()
    try:
        read(data, Limits.none())
    except UnsupportedError:
        raise
    except FormatError as error:
        if data.startswith(SIGNATURE):
            raise TruncatedError(str(error)) from error
        raise


def check_output(path: Path) -> None:
    """Raise TruncatedError for a picture or sound that was cut, MediaError for what is none."""
    if path.suffix.lower() in SOUNDS:
        check_sound(path)
    else:
        check_picture(path)


def check_sound(path: Path) -> None:
    """Raise TruncatedError for a sound that was cut, MediaError for what is none."""
    from rarefy.codecs.audio import open_audio

    with path.open("rb") as file:
        kind_of(file, path.name)
    try:
        with open_audio(path, Limits.none()) as reader:
            reader.read(max(0, reader.length - 1))
    except MediaError as error:
        raise TruncatedError(str(error)) from error


def check_picture(path: Path) -> None:
    """Raise TruncatedError for a picture that was cut, MediaError for what is none.

    PNG, JPEG and WebP are judged by their ends, others by decoding them.
    """
    with path.open("rb") as file:
        format = format_of(file, path.name)
    is_whole = ENDS[format](path.read_bytes()) if format in ENDS else _decodes(path)
    if not is_whole:
        raise TruncatedError("the picture was cut")


def _decodes(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
    except Exception:  # Pillow's readers raise many kinds of exceptions on cut files
        return False
    return True
