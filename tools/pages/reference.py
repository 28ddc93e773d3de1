"""The reference of the library in Markdown, from its source alone: signatures as they are written, and the docstrings.

Nothing is imported, so the pages are the same on every machine and show names (`Data`, not what it stands for).
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rarefy.tools.pages.signatures import class_signature, function_signature, is_overload

# The chapters of a package's page are its modules that programs use; what is not here is for readers of the source.
CHAPTERS = {
    "codecs": (
        *(
            "any_codec",
            "base",
            "image",
            "sound",
            "registry",
            "weights",
            "media",
            "limits",
            "grid",
            "encoding",
            "decoding",
            "targets",
        ),
        *("audio", "audio_reading", "audio_resampling", "audio_writing", "sound_encoding", "sound_decoding"),
        *("container", "header", "info", "sections", "salvage"),
    ),
    "data": ("dataset", "stream", "samples", "crops", "statistics", "decoding", "webdataset", "manifest", "packing"),
    "entropy": (
        *("tables", "coder", "rans", "tokens", "token_model", "token_contexts"),
        *(
            "coding",
            "hyperprior",
            "lattice",
            "integer",
            "quantise",
            "likelihood",
            "precision",
            "trial",
            "search",
            "cuda",
        ),
    ),
}
FACTS = frozenset({"Args:", "Raises:", "Returns:", "Yields:"})
NOTE = "*Written by `make pages` from the docstrings.*"
CODE_OR_MARK = re.compile(r"(``.+?``|`[^`]+`)|([<*])")

Definition = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Module:
    """A file of the source; `name` is what one imports."""

    name: str
    path: str
    source: str
    tree: ast.Module

    def definitions(self) -> Iterator[Definition]:
        """Yield the public functions and classes, in the order of the file."""
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not (
                node.name.startswith("_") or is_overload(node)
            ):
                yield node


def reference_pages(root: Path) -> dict[str, str]:
    """Return the pages by file name; `root` is a checkout."""
    pages = {"rarefy.md": _front_page(root)}
    for package in CHAPTERS:
        pages[f"{package}.md"] = _package_page(root, package)
    return {"README.md": _index(root), **pages}


def read_module(root: Path, path: str) -> Module:
    """Read a file of the source by its path below `root`."""
    source = (root / path).read_text(encoding="utf-8")
    words = [word for word in path.removesuffix(".py").split("/") if word != "__init__"]
    return Module(".".join(["rarefy", *words]), path, source, ast.parse(source))


def package_modules(root: Path, package: str) -> list[Module]:
    """Return the modules of a package that its page shows."""
    return [read_module(root, f"{package}/{name}.py") for name in CHAPTERS[package]]


def public_definitions(root: Path) -> list[tuple[Module, Definition]]:
    """Return what `rarefy.__all__` names and what its functions give, each with the module that defines it."""
    package = read_module(root, "__init__.py")
    homes = {
        alias.name: node.module
        for node in ast.walk(package.tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rarefy.")
        for alias in node.names
    }
    found: list[tuple[Module, Definition]] = []
    for name in _exported(package.tree):
        if name in homes:
            module = read_module(root, homes[name].removeprefix("rarefy.").replace(".", "/") + ".py")
            defined = {node.name: node for node in module.definitions()}
            found.append((module, defined[name]))
            given = getattr(defined[name], "returns", None)
            if isinstance(given, ast.Name) and given.id in defined:
                found.append((module, defined[given.id]))
    return list({(module.name, node.name): (module, node) for module, node in found}.values())


def _exported(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []


def _index(root: Path) -> str:
    lines = ["# Reference", "", NOTE, "", "- [`rarefy`](rarefy.md): what most programs need."]
    for package in CHAPTERS:
        words = _docstring(read_module(root, f"{package}/__init__.py").tree).split("\n\n")[0]
        lines.append(f"- [`rarefy.{package}`]({package}.md): {words[0].lower()}{words[1:]}")
    lines += ["", "[`Codec`](codecs.md#basecodec) is what a codec of one's own extends.", ""]
    lines += ["The command line has a man page, `man rarefy`; [`FORMAT.md`](../FORMAT.md) specifies the file."]
    return "\n".join([*lines, ""])


def _front_page(root: Path) -> str:
    """The names of `rarefy.__all__`: functions, then classes, then errors."""
    definitions = public_definitions(root)
    groups: dict[str, list[tuple[Module, Definition]]] = {
        "Functions": [(m, n) for m, n in definitions if isinstance(n, ast.FunctionDef)],
        "Classes": [(m, n) for m, n in definitions if isinstance(n, ast.ClassDef) and m.path != "errors.py"],
        "Errors": [(m, n) for m, n in definitions if m.path == "errors.py"],
    }
    lines = ["# `rarefy`", "", NOTE, "", _markdown(_docstring(read_module(root, "__init__.py").tree))]
    shown: set[str] = set()
    for title, members in groups.items():
        lines += ["", f"## {title}"]
        for path in dict.fromkeys(module.path for module, _ in members if module.path not in shown):
            lines += _types(read_module(root, path))
            shown.add(path)
        for module, node in members:
            lines += ["", f"### `rarefy.{node.name}`", "", *_definition(module, node)]
    return "\n".join([*lines, ""])


def _package_page(root: Path, package: str) -> str:
    words = _docstring(read_module(root, f"{package}/__init__.py").tree)
    lines = [f"# `rarefy.{package}`", "", NOTE, "", _markdown(words)]
    for module in package_modules(root, package):
        lines += ["", f"## `{module.name}`", "", f"[`{module.path}`](../../{module.path})", ""]
        lines += [_markdown(_docstring(module.tree)), *_types(module)]
        for node in module.definitions():
            lines += ["", f"### `{module.name.rpartition('.')[2]}.{node.name}`", "", *_definition(module, node)]
    return "\n".join([*lines, ""])


def _types(module: Module) -> list[str]:
    """The names that a module gives to types, as it writes them, comment included."""
    source = module.source.splitlines()
    names = [node for node in module.tree.body if isinstance(node, ast.Assign) and _is_type(node.targets[0])]
    lines = [line for node in names for line in source[node.lineno - 1 : node.end_lineno]]
    return ["", "```python", *lines, "```"] if lines else []


def _is_type(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id[0].isupper() and not target.id.isupper()


def _definition(module: Module, node: Definition) -> list[str]:
    if isinstance(node, ast.FunctionDef):
        return _block(function_signature(module.source, node), node)
    lines = _block(class_signature(module.source, node), node)
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and _is_shown(member):
            lines += ["", *_block(function_signature(module.source, member, node.name), member)]
    return lines


def _block(signature: str, node: Definition) -> list[str]:
    return ["```python", signature, "```", "", _markdown(_docstring(node))]


def _is_shown(member: ast.FunctionDef) -> bool:
    """Methods that say what they do; special ones have their meaning from Python and show only if they add to it."""
    is_private = member.name.startswith("_") and not _is_special(member)
    return bool(_docstring(member)) and not is_private and not is_overload(member)


def _is_special(member: ast.FunctionDef) -> bool:
    return member.name.startswith("__") and member.name.endswith("__")


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    return ast.get_docstring(node) or ""


def _markdown(docstring: str) -> str:
    """Turn a docstring into Markdown: marks outside code are escaped, what is indented below "Raises:" is a list."""
    lines: list[str] = []
    is_list = False
    for line in docstring.splitlines():
        if line in FACTS:
            lines, is_list = [*lines, line, ""], True
        elif is_list and line.startswith("     "):
            lines.append("  " + _escaped(line.strip()))
        elif is_list and line.startswith("    "):
            lines.append("- " + _escaped(line.strip()))
        else:
            lines.append(_escaped(line))
    return "\n".join(lines)


def _escaped(line: str) -> str:
    return CODE_OR_MARK.sub(lambda match: match[1] or f"\\{match[2]}", line)
