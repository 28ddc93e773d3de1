"""The completion file for fish, 3.1 or newer."""

from rarefy.tools.pages.commands import Command, Option, Value

HEAD = """# Completion of rarefy for fish. Written by `make pages` from the parsers of the command line: do not edit.

# Tells whether the words before the cursor have reached a command, such as "rarefy bench images".
function __rarefy_at
    set -l command rarefy
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if contains -- "$command $word" {commands}
            set command "$command $word"
        end
    end
    test "$command" = "$argv"
end

# Offers folders, and files whose names end as asked for.
function __rarefy_files
    set -l endings (string join '|' $argv)
    complete -C "__rarefy_no_such_command "(commandline -ct) | string match -r -i -- "^.*(?:/|\\.(?:$endings))\\$"
end

complete -c rarefy -f
"""


def fish_completion(root: Command) -> str:
    """Return the completion file."""
    names = " ".join(_quoted(command.name) for command in root.walk() if command is not root)
    lines = [HEAD.replace("{commands}", names)]
    for command in root.walk():
        start = f"complete -c rarefy -n {_quoted(f'__rarefy_at {command.name}')}"
        lines += [f"{start} -a {below.words[-1]} -d {_quoted(below.summary)}" for below in command.commands]
        lines += [f"{start} {_names(operand.value)}" for operand in command.operands if operand.value.kind != "text"]
        lines += [f"{start} {_option(option)}" for option in command.options]
    return "\n".join([*lines, ""])


def _option(option: Option) -> str:
    flags = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags]
    words = [f"-d {_quoted(option.help)}"] if option.help else []
    if option.value is None:
        return " ".join([*flags, *words])
    value = ["-x"] if option.value.kind == "text" else ["-r", _names(option.value)]
    return " ".join([*flags, *value, *words])


def _names(value: Value) -> str:
    """What to offer for a value."""
    if value.kind == "choice":
        return f"-f -a {_quoted(' '.join(value.choices))}"
    if value.kind == "folder":
        return "-f -a '(__fish_complete_directories)'"
    if not value.suffixes:
        return "-F"
    return f"-f -a '(__rarefy_files {' '.join(suffix.removeprefix('.') for suffix in value.suffixes)})'"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
