"""The command line as a tree of facts, read from its argparse parsers: man page and completions are written from it."""

from argparse import SUPPRESS, Action, ArgumentParser, _SubParsersAction
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

from rarefy.codecs.registry import codecs
from rarefy.codecs.suffixes import PICTURES, SOUNDS
from rarefy.tools import cli

FILE_SUFFIX = ".rfy"
# What parsers do not say: how the names of the files end that an argument asks for, by command and argument ...
SUFFIXES: dict[tuple[str, str], frozenset[str]] = {
    ("rarefy encode", "inputs"): PICTURES | SOUNDS,
    ("rarefy train", "recipe"): frozenset({".toml"}),
    ("rarefy train", "start"): frozenset({".safetensors"}),
    ("rarefy weights verify", "file"): frozenset({".safetensors"}),
}
OTHER_INPUTS = frozenset({FILE_SUFFIX})  # of every verb but encode
# ... and which arguments are files or folders, by the word that stands for them in the help or by their type.
FILE_WORDS = frozenset({"FILE", "OUT", "PATH"})
FOLDER_WORDS = frozenset({"DIR", "FOLDER"})
TRAINING_FOLDERS = frozenset({"run", "data", "out"})

Kind = Literal["text", "choice", "file", "folder"]


@dataclass(frozen=True)
class Value:
    """What a word of the command line may be; `name` stands for it in the help, `suffixes` only sort out files."""

    name: str
    kind: Kind
    choices: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    is_optional: bool = False
    is_repeated: bool = False


@dataclass(frozen=True)
class Option:
    """An option: its flags, its help, and what follows it (None for a switch)."""

    flags: tuple[str, ...]
    help: str
    value: Value | None
    is_required: bool = False


@dataclass(frozen=True)
class Operand:
    """An argument that no flag announces."""

    value: Value
    help: str


@dataclass(frozen=True)
class Command:
    """A verb with what it takes; `words` are what a user types to reach it, such as ("rarefy", "bench", "speed")."""

    words: tuple[str, ...]
    summary: str
    description: str
    options: tuple[Option, ...]
    operands: tuple[Operand, ...]
    commands: tuple["Command", ...]

    @property
    def name(self) -> str:
        """The words as one string."""
        return " ".join(self.words)

    def walk(self) -> Iterator["Command"]:
        """Yield this command and all below it, in the order of the help."""
        yield self
        for command in self.commands:
            yield from command.walk()


def read_commands() -> Command:
    """Read the whole command line, the verbs with parsers of their own included (which imports torch)."""
    return _read(cli.build_parser(), ("rarefy",), cli.SUMMARY)


def _read(parser: ArgumentParser, words: tuple[str, ...], summary: str) -> Command:
    options: list[Option] = []
    operands: list[Operand] = []
    commands: list[Command] = []
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            commands += _read_below(action, words)
        elif action.help == SUPPRESS:
            continue
        elif action.option_strings:
            value = None if action.nargs == 0 else _value(action, " ".join(words))
            options.append(Option(tuple(action.option_strings), _help(parser, action), value, action.required))
        else:
            operands.append(Operand(_value(action, " ".join(words)), _help(parser, action)))
    return Command(words, summary, parser.description or "", tuple(options), tuple(operands), tuple(commands))


def _read_below(action: "_SubParsersAction[ArgumentParser]", words: tuple[str, ...]) -> Iterator[Command]:
    summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
    for word, parser in action.choices.items():
        if summaries.get(word) == SUPPRESS:
            continue
        if len(words) == 1 and word in cli.PASSED_ON:
            parser = _parser_of(cli.PASSED_ON[word][0])
        yield _read(parser, (*words, word), summaries.get(word, ""))


def _parser_of(module_name: str) -> ArgumentParser:
    module = import_module(module_name)
    build: Callable[[], ArgumentParser] = getattr(module, "build_parser", None) or module.parser
    return build()


def _help(parser: ArgumentParser, action: Action) -> str:
    return parser._get_formatter()._expand_help(action) if action.help else ""


def _value(action: Action, command: str) -> Value:
    metavar = action.metavar if action.metavar is not None else action.dest.upper().replace("-", "_")
    name = metavar if isinstance(metavar, str) else " ".join(metavar)
    suffixes = SUFFIXES.get((command, action.dest), OTHER_INPUTS if action.dest == "inputs" else frozenset())
    choices = _choices(action)
    return Value(
        name=name,
        kind="choice" if choices else "file" if suffixes else _kind(action, name),
        choices=choices,
        suffixes=tuple(sorted(suffixes)),
        is_optional=action.nargs in ("?", "*"),
        is_repeated=action.nargs in ("+", "*"),
    )


def _choices(action: Action) -> tuple[str, ...]:
    if action.choices is not None:
        return tuple(str(choice) for choice in action.choices)
    if action.dest == "codec" and action.metavar == "NAME":
        return tuple(sorted(name for name, entry in codecs().items() if entry.home.startswith("rarefy.")))
    return ("cpu", "cuda") if action.dest == "device" else ()


def _kind(action: Action, name: str) -> Kind:
    if name in FOLDER_WORDS or (action.type is Path and action.dest in TRAINING_FOLDERS):
        return "folder"
    return "file" if name in FILE_WORDS or action.type is Path else "text"
