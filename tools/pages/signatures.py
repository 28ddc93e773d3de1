"""Signatures of functions and classes as the source writes them, laid out for a page."""

import ast
from functools import lru_cache

LINE = 100


def is_overload(node: ast.AST) -> bool:
    """Tell whether a definition only repeats the types of one that follows."""
    return _is_decorated(node, "overload")


def is_property(node: ast.AST) -> bool:
    """Tell whether a method is read like an attribute."""
    return _is_decorated(node, "property") or _is_decorated(node, "cached_property")


def function_signature(source: str, node: ast.FunctionDef, owner: str = "") -> str:
    """Return the signature of a function or, given its class as `owner`, of a method as callers see it."""
    if owner and is_property(node):
        return f"{owner}.{node.name}" + (f": {_type(source, node.returns)}" if node.returns else "")
    parameters = _parameters(source, node.args)
    if owner and not _is_decorated(node, "staticmethod"):
        parameters = parameters[1:]  # self or cls, which callers do not give
        if parameters[:1] == ["/"]:
            del parameters[0]
    gives = f" -> {_type(source, node.returns)}" if node.returns else ""
    return _laid_out(f"{owner}.{node.name}" if owner else node.name, parameters, gives)


def class_signature(source: str, node: ast.ClassDef) -> str:
    """Return `class Name(Base)` and how one is made: by `__init__`, or by the fields of a dataclass or named tuple."""
    bases = [_written(source, base) for base in node.bases]
    head = f"class {node.name}" + (f"({', '.join(bases)})" if bases else "")
    made = [member for member in node.body if isinstance(member, ast.FunctionDef) and member.name == "__init__"]
    if made:
        return "\n".join([head, _laid_out(node.name, _parameters(source, made[0].args)[1:], "")])
    if "NamedTuple" in bases or _is_decorated(node, "dataclass"):
        return "\n".join([head, _laid_out(node.name, _fields(source, node), "")])
    return head


def _fields(source: str, node: ast.ClassDef) -> list[str]:
    fields = [_field(source, member) for member in node.body if isinstance(member, ast.AnnAssign)]
    return ["*", *fields] if _is_keyword_only(node) else fields


def _field(source: str, field: ast.AnnAssign) -> str:
    text = f"{_written(source, field.target)}: {_type(source, field.annotation)}"
    value = field.value
    if isinstance(value, ast.Call) and _last_name(value) == "field":  # what dataclasses.field(default=...) gives
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        value = given.get("default")
        if "default_factory" in given:
            return f"{text} = {_written(source, given['default_factory'])}()"
    return f"{text} = {_written(source, value)}" if value else text


def _parameters(source: str, arguments: ast.arguments) -> list[str]:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    parameters = [_parameter(source, a, d) for a, d in zip(positional, defaults, strict=True)]
    if arguments.posonlyargs:
        parameters.insert(len(arguments.posonlyargs), "/")
    if arguments.vararg:
        parameters.append("*" + _parameter(source, arguments.vararg, None))
    elif arguments.kwonlyargs:
        parameters.append("*")
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    parameters += [_parameter(source, a, d) for a, d in named]
    return parameters + (["**" + _parameter(source, arguments.kwarg, None)] if arguments.kwarg else [])


def _parameter(source: str, argument: ast.arg, default: ast.expr | None) -> str:
    text = argument.arg + (f": {_type(source, argument.annotation)}" if argument.annotation else "")
    return f"{text} = {_written(source, default)}" if default else text


def _type(source: str, node: ast.expr) -> str:
    """Return a type as it stands in the source, without the quotes that put off looking it up."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else _written(source, node)


def _written(source: str, node: ast.expr) -> str:
    """Return an expression as it stands in the source, on one line."""
    lines = list(_lines(source)[node.lineno - 1 : node.end_lineno])
    lines[-1] = lines[-1][: node.end_col_offset]
    lines[0] = lines[0][node.col_offset :]
    return " ".join(b" ".join(lines).decode().split())


@lru_cache
def _lines(source: str) -> tuple[bytes, ...]:
    """Return the lines in UTF-8, where columns are counted; `ast.get_source_segment` would split them every time."""
    return tuple(line.encode() for line in source.split("\n"))


def _is_decorated(node: ast.AST, name: str) -> bool:
    return any(_last_name(decorator) == name for decorator in getattr(node, "decorator_list", []))


def _is_keyword_only(node: ast.ClassDef) -> bool:
    keywords = [k for d in node.decorator_list if isinstance(d, ast.Call) for k in d.keywords]
    return any(k.arg == "kw_only" and isinstance(k.value, ast.Constant) and k.value.value is True for k in keywords)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _last_name(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _laid_out(name: str, parameters: list[str], gives: str) -> str:
    """Return a call on one line, or one parameter a line where that is too long."""
    line = f"{name}({', '.join(parameters)}){gives}"
    if len(line) <= LINE:
        return line
    return "\n".join([f"{name}(", *(f"    {parameter}," for parameter in parameters), f"){gives}"])
