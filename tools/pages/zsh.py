"""The completion file for zsh: one function per command, by zsh's own `_arguments`."""

from rarefy.tools.pages.commands import Command, Option, Value

HEAD = """#compdef rarefy
# Completion of rarefy for zsh. Written by `make pages` from the parsers of the command line: do not edit.
"""
# The file is loaded as the function _rarefy from $fpath, or read by `source`.
TAIL = ("if [[ $funcstack[1] == _rarefy ]]; then", '  _rarefy "$@"', "else", "  compdef _rarefy rarefy", "fi")


def zsh_completion(root: Command) -> str:
    """Return the completion file."""
    functions = [line for command in root.walk() for line in [*_function(command), ""]]
    return "\n".join([HEAD, *functions, *TAIL, ""])


def _function(command: Command) -> list[str]:
    specs = [spec for option in command.options for spec in _option(option)]
    for operand in command.operands:
        star = "*" if operand.value.is_repeated else ""
        specs.append(_quoted(f"{star}:{operand.value.name}:{_action(operand.value)}"))
    if command.commands:
        specs += ["'1: :->command'", "'*:: :->rest'"]
    body = [f"    {spec} \\" for spec in specs]
    body[-1] = body[-1].removesuffix(" \\")
    lines = [f"{_name(command)}() {{"]
    if command.commands:
        lines += ['  local curcontext="$curcontext" state line']
    lines += ["  _arguments -s -S -C \\", *body]
    return [*lines, *(_below(command) if command.commands else []), "}"]


def _below(command: Command) -> list[str]:
    described = [f"        {_quoted(f'{below.words[-1]}:{below.summary}')}" for below in command.commands]
    calls = [f"        {below.words[-1]}) {_name(below)} ;;" for below in command.commands]
    return [
        "  case $state in",
        "    command)",
        "      local -a commands=(",
        *described,
        "      )",
        "      _describe command commands",
        "      ;;",
        "    rest)",
        "      case $line[1] in",
        *calls,
        "      esac",
        "      ;;",
        "  esac",
    ]


def _name(command: Command) -> str:
    return "_" + "_".join(command.words)


def _option(option: Option) -> list[str]:
    """One spec per flag; each excludes itself and its spellings."""
    others = f"({' '.join(option.flags)})"
    value = option.value
    takes = ""
    if value:
        message = f":{value.name}:{_action(value)}"
        takes = f":*-*{message}" if value.is_repeated else message
    words = f"[{_escaped(option.help)}]" if option.help else ""
    sign = "=" if value else ""  # after a long flag: with = or as the next word
    flags = [f"{flag}{sign}" if flag.startswith("--") else flag for flag in option.flags]
    return [_quoted(f"{others}{flag}{words}{takes}") for flag in flags]


def _action(value: Value) -> str:
    if value.kind == "choice":
        return f"({' '.join(value.choices)})"
    if value.kind == "folder":
        return "_files -/"
    if value.kind == "text":
        return " "
    patterns = "|".join(suffix.removeprefix(".") for suffix in value.suffixes)
    return f'_files -g "*.(#i)({patterns})(-.)"' if patterns else "_files"


def _escaped(text: str) -> str:
    """Escape what would end a description."""
    for character in ("\\", "[", "]", ":"):
        text = text.replace(character, f"\\{character}")
    return text


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
