"""The completion file for bash: needs nothing but bash itself, 3.2 or newer."""

from rarefy.tools.pages.commands import Command, Value

HEAD = r"""# Completion of rarefy for bash. Written by `make pages` from the parsers of the command line: do not edit.
# shellcheck shell=bash disable=SC2086 # lists of words are split on purpose

_rarefy() {
    local current=${COMP_WORDS[COMP_CWORD]} command=rarefy option='' word value repeated commands options
    COMPREPLY=()
    [[ $current == = ]] && current=''
    _rarefy_facts "$command"
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ $word == = ]]; then
            continue # --codec=image is three words to bash
        elif [[ $word == -?* ]]; then
            _rarefy_value "$command $word"
            option=${value:+$word}
        elif [[ -n $option ]]; then
            [[ -n $repeated ]] || option=''
        elif [[ " $commands " == *" $word "* ]]; then
            command="$command $word"
            _rarefy_facts "$command"
        fi
    done
    if [[ $current == -* && ($repeated || -z $option) ]]; then
        _rarefy_offer words $options
    elif [[ -n $option ]]; then
        _rarefy_value "$command $option"
        _rarefy_offer $value
    else
        _rarefy_value "$command"
        _rarefy_offer words $commands
        _rarefy_offer $value
    fi
}

# Adds what begins like the word at the cursor: "words WORD...", "folders", or "files [PATTERN...]".
_rarefy_offer() {
    local kind=$1 pattern
    shift
    case $kind in
        words) _rarefy_add -W "$*" ;;
        folders) _rarefy_add_names -d ;;
        files)
            [[ $# -eq 0 ]] && _rarefy_add_names -f && return
            _rarefy_add_names -d
            for pattern; do
                _rarefy_add_names -f -X "!*.$pattern"
            done
            ;;
    esac
}

_rarefy_add_names() {
    compopt -o filenames 2>/dev/null # bash 4 and newer: a slash after folders, spaces escaped
    _rarefy_add "$@"
}

_rarefy_add() {
    local found
    while IFS='' read -r found; do
        COMPREPLY+=("$found")
    done < <(compgen "$@" -- "$current")
}
"""


def bash_completion(root: Command) -> str:
    """Return the completion file."""
    facts, values = [], []
    for command in root.walk():
        commands = " ".join(below.words[-1] for below in command.commands)
        flags = " ".join(flag for option in command.options for flag in option.flags)
        facts.append(f'"{command.name}") commands="{commands}" options="{flags}" ;;')
        if command.operands:
            values.append(_case([command.name], command.operands[-1].value))
        for option in command.options:
            if option.value:
                values.append(_case([f"{command.name} {flag}" for flag in option.flags], option.value))
    return "\n".join(
        [
            HEAD,
            *_function("_rarefy_facts", "What may follow a command.", "commands='' options=''", facts),
            "",
            *_function("_rarefy_value", "What a command or an option takes.", "value='' repeated=''", values),
            "",
            "complete -F _rarefy rarefy",
            "",
        ]
    )


def _function(name: str, comment: str, start: str, cases: list[str]) -> list[str]:
    body = [f"        {case}" for case in cases]
    return [f"# {comment}", f"{name}() {{", f"    {start}", '    case "$1" in', *body, "    esac", "}"]


def _case(names: list[str], value: Value) -> str:
    repeated = " repeated=yes" if value.is_repeated else ""
    return f'{" | ".join(f"{chr(34)}{name}{chr(34)}" for name in names)}) value="{_offer(value)}"{repeated} ;;'


def _offer(value: Value) -> str:
    if value.kind == "choice":
        return " ".join(["words", *value.choices])
    if value.kind == "file":
        return " ".join(["files", *(_either_case(suffix.removeprefix(".")) for suffix in value.suffixes)])
    return "folders" if value.kind == "folder" else "text"


def _either_case(text: str) -> str:
    return "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in text)
