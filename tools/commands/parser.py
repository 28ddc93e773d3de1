"""The parser of every verb, built without importing what the verbs need."""

from argparse import REMAINDER, ArgumentParser

from rarefy import __version__
from rarefy.tools.arguments import Parser, piece_seconds, positive, quality, region, seconds
from rarefy.tools.commands.rate import add_rate

SUMMARY = "Learned codecs: small files that decode to the same symbols everywhere."
# Verbs with a parser of their own: verb -> (module with main(argv) -> int, help)
PASSED_ON = {
    "train": ("rarefy.tools.train_command", "train a codec from a recipe"),
    "weights": ("rarefy.tools.weights", "make, convert and check files of weights"),
    "bench": ("rarefy.tools.bench", "measure rate, fidelity and speed against other codecs"),
}
PREVIEWS = (2, 4, 8)
EFFORTS = range(7)
LABELS = ("folder", "json", "none")


def build_parser() -> ArgumentParser:
    """Return the parser of every verb."""
    parser = Parser(prog="rarefy", description=SUMMARY, epilog="rarefy VERB --help tells more about a verb.")
    parser.add_argument("--version", action="version", version=f"rarefy {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, add, summary, description in (
        (
            "encode",
            _add_encode,
            "turn pictures and sounds into small files",
            "Turn pictures and sounds into .rfy files.",
        ),
        ("decode", _add_decode, "turn them back", "Turn .rfy files into pictures and sounds, or parts of them."),
        (
            "transcode",
            _add_transcode,
            "bring files to another codec, quality or generation of weights",
            "Decode .rfy files and encode them again, metadata kept; what a file lost before stays lost.",
        ),
        (
            "pack",
            _add_pack,
            "turn a folder of pictures or sounds into shards of latents to learn from",
            "Turn a folder of pictures, or of sounds, into tar shards that networks train on; a run that was stopped "
            "goes on.",
        ),
        ("info", _add_info, "tell what a file is", "Tell what files are, without torch or weights."),
        ("verify", _add_verify, "check files", "Check every checksum and every symbol of files."),
        ("codecs", _add_words, "list the codecs", "List the codecs that are installed."),
    ):
        add(verbs.add_parser(verb, help=summary, description=description))
    for verb, (_, summary) in PASSED_ON.items():
        verbs.add_parser(verb, help=summary, add_help=False).add_argument("rest", nargs=REMAINDER)
    return parser


def _add_encode(parser: ArgumentParser) -> None:
    _add_inputs(parser, "picture or sound, folder (with -r), pattern such as 'pictures/*.png', or - for standard input")
    _add_output(parser)
    _add_codec(parser, None, "image for pictures, walloc-audio for sounds")
    add_rate(parser, default=50.0)
    parser.add_argument(
        "--effort",
        type=int,
        choices=EFFORTS,
        default=0,
        metavar="N",
        help="1 to 6: smaller files at equal error (at one quality: less error), by a search of seconds at 3, "
        "twice that with each one more",
    )
    parser.add_argument(
        "--strip",
        action="store_true",
        help="leave out EXIF and XMP (place, camera, dates), the colour profile stays; and the tags of sounds",
    )
    parser.add_argument("--verify", action="store_true", help="decode and compare before a file counts as done")
    _add_machine(parser)
    _add_words(parser)


def _add_decode(parser: ArgumentParser) -> None:
    _add_inputs(parser, ".rfy file, folder (with -r), pattern, or - for standard input")
    _add_output(parser)
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--region", type=region, metavar="X,Y,W,H", help="this part alone, in pixels")
    part.add_argument(
        "--preview", type=int, choices=PREVIEWS, metavar="N", help="the picture at 1/N of its size: 2, 4 or 8"
    )
    part.add_argument(
        "--allow-damaged", action="store_true", help="save what can be saved of damaged files, and say what is missing"
    )
    parser.add_argument("--start", type=seconds, metavar="S", help="of a sound: from here on alone, in seconds")
    parser.add_argument("--duration", type=seconds, metavar="S", help="of a sound: so many seconds alone")
    _add_machine(parser)
    _add_words(parser)


def _add_transcode(parser: ArgumentParser) -> None:
    _add_inputs(parser, ".rfy file, folder (with -r), pattern, or - for standard input")
    _add_output(parser, "output file, folder, or - (without it, -f replaces the inputs)")
    _add_codec(parser, None, "that of the file")
    add_rate(parser, default=None)
    parser.add_argument(
        "--always", action="store_true", help="encode again what has this codec, these weights and this quality already"
    )
    parser.add_argument("--verify", action="store_true", help="decode and compare before a file counts as done")
    _add_machine(parser)
    _add_words(parser)


def _add_pack(parser: ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="folder of pictures or sounds; its subfolders may be classes")
    parser.add_argument("-o", dest="output", metavar="OUT", required=True, help="folder for the shards")
    _add_codec(parser, "walloc-image", "walloc-image")
    parser.add_argument(
        "--quality", type=quality, default=50.0, metavar="Q", help="0 (smallest) to 100 (best), default 50"
    )
    parser.add_argument(
        "--shard-megabytes", type=positive, default=100, metavar="N", help="size of a shard at most (default 100)"
    )
    parser.add_argument(
        "--label",
        choices=LABELS,
        help="the class is the first folder below DIR, a .json file beside each file, or there is none",
    )
    parser.add_argument(
        "--seconds",
        type=piece_seconds,
        metavar="N",
        help="cut sounds into samples of N seconds; what remains at the end of a file is left out",
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="read and code on this Ray cluster; auto for the one of this machine"
    )
    parser.add_argument(
        "--statistics", action="store_true", help="mean and deviation of each channel into the manifest"
    )
    _add_machine(parser)
    _add_words(parser)


def _add_info(parser: ArgumentParser) -> None:
    _add_inputs(parser, ".rfy file, folder, pattern, or - for standard input")
    _add_words(parser)


def _add_verify(parser: ArgumentParser) -> None:
    _add_inputs(parser, ".rfy file, folder, pattern, or - for standard input")
    _add_threads(parser)
    _add_words(parser)


def _add_inputs(parser: ArgumentParser, what: str) -> None:
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=what)


def _add_output(parser: ArgumentParser, what: str = "output file, folder, or - (default: next to the input)") -> None:
    parser.add_argument("-o", dest="output", metavar="OUT", help=what)
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("-f", dest="overwrite", action="store_true", help="overwrite files that exist")
    existing.add_argument(
        "--skip-existing", action="store_true", help="leave out what has a whole output already, to go on with a batch"
    )
    parser.add_argument(
        "-r", dest="recursive", action="store_true", help="take the files in folders; -o mirrors their tree"
    )


def _add_codec(parser: ArgumentParser, default: str | None, usual: str) -> None:
    parser.add_argument(
        "--codec", default=default, metavar="NAME", help=f"which codec (default: {usual}; see rarefy codecs)"
    )


def _add_machine(parser: ArgumentParser) -> None:
    _add_threads(parser)
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default) or cuda")


def _add_threads(parser: ArgumentParser) -> None:
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all cores)")


def _add_words(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object per line on stdout")
    parser.add_argument("-q", dest="quiet", action="store_true", help="say nothing but errors")
    parser.add_argument("-v", dest="verbose", action="store_true", help="say more, with tracebacks of errors")
