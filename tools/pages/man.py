"""The man page rarefy(1), in the man macros that groff and mandoc both read."""

import re
import textwrap

from rarefy import __version__
from rarefy.tools.pages.commands import Command, Operand, Option

DESCRIPTION = """\
rarefy turns pictures into small `.rfy` files with learned codecs, and back. A file decodes to the same symbols on
every machine; a checksum over them tells when it does not. The codecs are lossy, and their weights a preview until
version 1.0: a file needs the weights that it was made with.

Results go to files, or to standard output where `-` is named; words go to standard error. An output appears under its
name when it is whole: a run that fails or is interrupted leaves nothing half-made. A batch goes on after a file that
fails."""

EXIT_STATUS = (
    ("0", "Everything was done."),
    ("1", "Something failed: a file that is not there, a full disk, weights that are missing."),
    ("2", "The command was used wrongly; nothing was done."),
    ("3", "An input is damaged or not supported."),
)
EXIT_NOTE = "A batch finishes the rest of its files and ends with the highest of these that one of them had."

ENVIRONMENT = (
    ("RAREFY_WEIGHTS", "Folders of weights, separated as in PATH, that are searched before those of the package."),
    (
        "RAREFY_KERNEL",
        "Set to `python`, Python and torch do the work of the compiled kernels even where these are installed; "
        "`avx512`, `avx2`, `dotprod`, `neon` or `plain` names the instruction set that they shall use.",
    ),
)

EXAMPLES = (
    ("Encode a picture; photo.rfy appears beside it:", "rarefy encode photo.png"),
    ("Decode it into another format:", "rarefy decode photo.rfy -o copy.webp"),
    ("Encode a folder into small files, its tree kept:", "rarefy encode -r pictures/ -o small/ --quality 30"),
    ("Encode a picture to a file of at most 50 kB:", "rarefy encode photo.png --target-size 50k"),
    ("Decode 256 x 256 pixels alone, at column 64 and row 32:", "rarefy decode photo.rfy --region 64,32,256,256"),
    ("Decode the picture at an eighth of its size:", "rarefy decode photo.rfy --preview 8 -o thumb.png"),
    ("Check every checksum and every symbol of a folder:", "rarefy verify small/"),
    ("Describe a file to a program:", "rarefy info --json photo.rfy"),
    ("Send a picture through a pipe:", "rarefy encode - -o - < photo.png | rarefy decode - -o - > copy.png"),
)
FILES = """\
Names of files end in `.rfy`; their media type is application/vnd.rarefy.

The package brings these files, below the prefix of the environment that it is installed in:"""
INSTALLED = (
    (
        "share/bash-completion/completions/rarefy",
        "Completion for bash. Newer releases of bash-completion find it beside the command; elsewhere `source` it.",
    ),
    ("share/zsh/site-functions/_rarefy", "Completion for zsh: its folder belongs into `fpath` before `compinit`."),
    (
        "share/fish/vendor_completions.d/rarefy.fish",
        "Completion for fish, which finds it below `XDG_DATA_DIRS` or in `~/.config/fish/completions`.",
    ),
    (
        "share/mime/packages/rarefy.xml",
        "The media type, for desktops: copy it into `~/.local/share/mime/packages` and run "
        "`update-mime-database ~/.local/share/mime`.",
    ),
    ("share/rarefy/rarefy.magic", "The signature, for file(1): `file -m` with this file, or a part of `~/.magic`."),
)
WIDTH, GLUE = 70, "\0"
CODE = re.compile(r"`([^`]+)`")


def man_page(root: Command) -> str:
    """Return the source of the page."""
    lines = [
        '.\\" Written by `make pages` from the parsers of the command line: do not edit.',
        f'.TH RAREFY 1 "" "rarefy {__version__}" "User Commands"',
        ".SH NAME",
        f"rarefy \\- {_text(root.summary[0].lower() + root.summary[1:].removesuffix('.'))}",
        ".SH SYNOPSIS",
        *_synopses(root),
        ".SH DESCRIPTION",
        *_paragraphs(DESCRIPTION),
        ".PP",
        "These options stand in the place of a verb:",
        *_options(root.options),
        ".SH COMMANDS",
        *(line for command in root.walk() if command is not root for line in _command(command)),
        ".SH EXIT STATUS",
        *_terms(EXIT_STATUS),
        ".PP",
        *_filled(EXIT_NOTE),
        ".SH ENVIRONMENT",
        *_terms(ENVIRONMENT),
        ".SH FILES",
        *_paragraphs(FILES),
        *_terms(INSTALLED),
        ".SH EXAMPLES",
        *[line for example in EXAMPLES for line in _example(*example)][1:],
        ".SH SEE ALSO",
        _text("cwebp(1), avifenc(1), cjxl(1), file(1)"),
    ]
    return "\n".join([*lines, ""])


def _synopses(root: Command) -> list[str]:
    lines: list[str] = []
    for command in root.commands:
        lines += [*([".br"] if lines else []), _usage(command)]
    return lines


def _command(command: Command) -> list[str]:
    lines = [f".SS {_text(' '.join(command.words[1:]))}", _usage(command)]
    lines += [".PP", *_paragraphs(command.description or command.summary)]
    for operand in command.operands:
        lines += _term(_italic(operand.value.name), operand.help)
    lines += _options([option for option in command.options if "--help" not in option.flags])
    for below in command.commands:
        lines += _term(_bold(below.words[-1]), below.summary)
    return lines


def _usage(command: Command) -> str:
    needed = [_flag_and_value(option, option.flags[0]) for option in command.options if option.is_required]
    name = _bold(command.name)
    if command.commands:
        return f"{name} {'|'.join(_bold(below.words[-1]) for below in command.commands)} ..."
    return " ".join([name, "[" + _italic("OPTION") + " ...]", *needed, *map(_operand, command.operands)])


def _operand(operand: Operand) -> str:
    word = _italic(operand.value.name) + (" ..." if operand.value.is_repeated else "")
    return f"[{word}]" if operand.value.is_optional else word


def _options(options: list[Option] | tuple[Option, ...]) -> list[str]:
    lines: list[str] = []
    for option in options:
        lines += _term(", ".join(_flag_and_value(option, flag) for flag in option.flags), option.help)
    return lines


def _flag_and_value(option: Option, flag: str) -> str:
    words = _bold(flag)
    if option.value is None:
        return words
    value = _italic(option.value.name) + (" ..." if option.value.is_repeated else "")
    return f"{words} [{value}]" if option.value.is_optional else f"{words} {value}"


def _terms(terms: tuple[tuple[str, str], ...]) -> list[str]:
    return [line for term, words in terms for line in _term(_bold(term), words)]


def _term(term: str, words: str) -> list[str]:
    return [".TP", term, *(_filled(words) or ["\\&"])]


def _example(words: str, command: str) -> list[str]:
    return [".PP", _text(words), ".PP", ".RS 4", ".EX", _text(command), ".EE", ".RE"]


def _paragraphs(text: str) -> list[str]:
    paragraphs = text.strip().split("\n\n")
    return [line for paragraph in paragraphs for line in (".PP", *_filled(paragraph))][1:]


def _filled(text: str) -> list[str]:
    """Return prose as lines; a code in backticks is not broken."""
    whole = CODE.sub(lambda match: match[0].replace(" ", GLUE), " ".join(text.split()))
    lines = textwrap.wrap(whole, WIDTH, break_long_words=False, break_on_hyphens=False)
    return [_text(line.replace(GLUE, " ")) for line in lines]


def _bold(text: str) -> str:
    return f"\\fB{_text(text)}\\fR"


def _italic(text: str) -> str:
    return f"\\fI{_text(text)}\\fR"


def _text(text: str) -> str:
    """Escape what roff would take for its own; `code` becomes bold, ASCII hyphens stay what can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = CODE.sub(lambda match: f"\\fB{match[1]}\\fR", text)
    return f"\\&{text}" if text.startswith((".", "'")) else text
