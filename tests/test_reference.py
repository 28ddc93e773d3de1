"""The reference: every public name is in it, with a docstring and the signature that Python sees; and profiling."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest
import torch

import rarefy
from rarefy.tools.pages.checkout import ROOT
from rarefy.tools.pages.reference import CHAPTERS, Module, package_modules, public_definitions, reference_pages
from rarefy.tools.pages.signatures import class_signature, function_signature

MODULES = [module for package in CHAPTERS for module in package_modules(ROOT, package)]
# Their methods keep a protocol that is told in one place, codecs/fields.py.
PROTOCOL_KEEPERS = frozenset({"rarefy.codecs.header.CodecName"})


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return reference_pages(ROOT)


@pytest.fixture(scope="module")
def front_page(pages: dict[str, str]) -> str:
    return pages["rarefy.md"]


def test_the_front_page_shows_every_public_name(front_page: str) -> None:
    shown = re.findall(r"^### `rarefy\.(\w+)`$", front_page, re.M)
    assert set(rarefy.__all__) - {"__version__"} <= set(shown)
    assert len(shown) == len(set(shown))


def test_signatures_are_those_that_python_sees(front_page: str) -> None:
    for name in rarefy.__all__:
        public = getattr(rarefy, name)
        if isinstance(public, FunctionType) or (isinstance(public, type) and not issubclass(public, Exception)):
            pattern = rf"^### `rarefy\.{name}`\n\n```python\n(?:class [^\n]*\n)?(.*?)```$"
            block = re.search(pattern, front_page, re.M | re.S)
            assert block, name
            function = ast.parse(f"def {block[1].strip()}: ...").body[0]
            assert isinstance(function, ast.FunctionDef)
            shown = [one.arg for one in (*function.args.args, *function.args.kwonlyargs)]
            assert shown == list(inspect.signature(public).parameters), name


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_every_public_name_has_a_docstring(module: Module) -> None:
    assert ast.get_docstring(module.tree), module.path
    for node in module.definitions():
        assert ast.get_docstring(node), f"{module.path}: {node.name} has no docstring"
        if isinstance(node, ast.ClassDef) and f"{module.name}.{node.name}" not in PROTOCOL_KEEPERS:
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                    assert ast.get_docstring(member), f"{module.path}: {node.name}.{member.name} has no docstring"


def test_every_exported_name_has_a_docstring() -> None:
    definitions = public_definitions(ROOT)
    assert {"Reader", "encode", "Image", "RarefyError"} <= {node.name for _, node in definitions}
    for module, node in definitions:
        members = node.body if isinstance(node, ast.ClassDef) else []
        public = [m for m in members if isinstance(m, ast.FunctionDef) and not m.name.startswith("_")]
        for one in (node, *public):
            assert ast.get_docstring(one), f"{module.path}: {one.name} has no docstring"


def test_chapters_show_what_the_modules_define(pages: dict[str, str]) -> None:
    for module in MODULES:
        page = pages[f"{module.name.split('.')[1]}.md"]
        defined = [
            name
            for name, value in vars(import_module(module.name)).items()
            if not name.startswith("_")
            and inspect.getmodule(value) is import_module(module.name)
            and isinstance(value, type | FunctionType)
        ]
        for name in defined:
            assert f"### `{module.name.rpartition('.')[2]}.{name}`\n" in page, f"{module.name}.{name}"


SOURCE = """
def plain(a, /, b: "Tensor" = None, *rest: int, c: str = "x", **more: object) -> list[int]: ...

class Fields:
    @classmethod
    def make(cls, n: int = 1 << 4) -> "Fields": ...
    @staticmethod
    def free(n: int) -> int: ...
    @property
    def size(self) -> int: ...

@dataclass(frozen=True, kw_only=True)
class Data(Fields):
    a: int
    b: bytes | None = field(default=None, repr=False)
    c: list[int] = field(default_factory=list)
"""


def test_signatures_as_written() -> None:
    function, fields, data = ast.parse(SOURCE).body
    assert isinstance(function, ast.FunctionDef) and isinstance(fields, ast.ClassDef) and isinstance(data, ast.ClassDef)
    make, free, size = (member for member in fields.body if isinstance(member, ast.FunctionDef))
    assert function_signature(SOURCE, function) == (
        'plain(a, /, b: Tensor = None, *rest: int, c: str = "x", **more: object) -> list[int]'
    )
    assert function_signature(SOURCE, make, "Fields") == "Fields.make(n: int = 1 << 4) -> Fields"
    assert function_signature(SOURCE, free, "Fields") == "Fields.free(n: int) -> int"
    assert function_signature(SOURCE, size, "Fields") == "Fields.size: int"
    assert class_signature(SOURCE, fields) == "class Fields"
    assert class_signature(SOURCE, data) == (
        "class Data(Fields)\nData(*, a: int, b: bytes | None = None, c: list[int] = list())"
    )


def test_long_signatures_take_a_line_a_parameter() -> None:
    source = f"def long({', '.join(f'parameter_{letter}: int' for letter in 'abcdef')}) -> int: ..."
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    assert function_signature(source, function).splitlines()[:2] == ["long(", "    parameter_a: int,"]


@pytest.mark.slow
def test_the_scripts_on_profiling_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/PROFILING.md").read_text(), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    names: dict[str, object] = {}
    try:
        for script in scripts:
            exec(compile(script.replace("768, 512", "128, 96"), "docs/PROFILING.md", "exec"), names)
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    for part in ("entropy/integer.py", "entropy/coding.py", "models/transforms.py", "aten::"):
        assert part in printed
    assert (tmp_path / "decode.json").stat().st_size > 0
