"""The arrows between the folders: who may import whom, read from the sources, and what loads without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("codecs", "entropy", "models", "kernels", "data", "tools")
# Folder -> folders that it may import beside itself; rarefy.errors is open to all.
MAY_IMPORT = {
    "kernels": set(),
    "entropy": {"kernels"},
    "models": {"kernels"},
    "codecs": {"entropy", "models", "weights"},
    "data": {"codecs"},
    "tools": {"codecs", "entropy", "models", "kernels", "data", "weights"},
}
ROOT_MODULES = {"errors", "__version__"}
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path, is_top_level_only: bool = False) -> Iterator[str]:
    """Yield the dotted name of everything that a source file imports; `from a import b` yields `a.b`."""
    tree = ast.parse(path.read_text(), str(path))
    for node in top_level(tree) if is_top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_level(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs when a module is imported: not the bodies of functions, nor what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        is_typing = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not is_typing and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from top_level(child)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    allowed = MAY_IMPORT[folder] | {folder} | ROOT_MODULES
    for name in imports(path):
        first, *rest = name.split(".")
        assert first not in FOLDERS, f"imports {name}: say rarefy.{name}"
        if first == "rarefy" and rest and folder != "tools":
            assert rest[0] in allowed, f"{folder} must not import {name}"


@pytest.mark.parametrize(
    "folder", ["kernels", "codecs/container.py", "codecs/media.py", "codecs/limits.py", "tools/cli.py"]
)
def test_light_parts_import_no_torch_at_their_top(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py")) if (ROOT / folder).is_dir() else [ROOT / folder]
    for path in paths:
        heavy = [name for name in imports(path, is_top_level_only=True) if name.split(".")[0] == "torch"]
        assert not heavy, f"{path} imports {heavy}"


def test_networks_do_no_input_or_output() -> None:
    forbidden = {"models": {"PIL", "pathlib", "io", "os", "safetensors", "struct"}, "entropy": {"PIL"}}
    for folder, names in forbidden.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            used = {name.split(".")[0] for name in imports(path)} & names
            assert not used, f"{path} imports {used}"


def loaded_by(statement: str) -> set[str]:
    """Return the names of the modules that a fresh interpreter has loaded after a statement."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    return set(finished.stdout.split())


@pytest.mark.parametrize(
    "module", ["rarefy", "rarefy.codecs", "rarefy.codecs.container", "rarefy.codecs.media", "rarefy.codecs.registry"]
)
def test_light_modules_load_without_torch(module: str) -> None:
    assert "torch" not in loaded_by(f"import {module}")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["encode", "--help"], ["no-such-verb"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    statement = f"""
import contextlib, io
from rarefy.tools.cli import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main({arguments!r})
"""
    assert not loaded_by(statement) & {"torch", "numpy", "PIL"}


@pytest.mark.parametrize("name", ["image", "walloc-image", "walloc-audio"])
def test_codecs_load_without_the_compiler_of_torch(name: str) -> None:
    """It takes as long to import as torch itself."""
    assert "torch._dynamo" not in loaded_by(f"import rarefy\nrarefy.load({name!r})")


def test_the_compiled_extension_is_optional() -> None:
    blocked = (
        "import sys; sys.modules['rarefy.kernels._rans'] = None; import rarefy.kernels as k; assert not k.available()"
    )
    assert "rarefy.kernels" in loaded_by(blocked)
