"""Codecs of other packages: the example installs and works, broken packages cost nothing but their own codecs."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import rarefy
from rarefy.codecs import registry
from rarefy.codecs.registry import CodecEntry, build, codecs, find, problems
from rarefy.errors import OptionError, UnsupportedError
from rarefy.tools.cli import main
from rarefy.tools.metrics import psnr

Pixels = NDArray[np.uint8]

ROOT = Path(__file__).resolve().parents[1]
NAME = "example-blocks"
OWN = {name for name, entry in codecs().items() if entry.home.startswith("rarefy.")}


def forget() -> None:
    """Look for packages anew at the next question."""
    registry._entry_points.cache_clear()
    registry._offer.cache_clear()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the example, without any network."""
    pytest.importorskip("scikit_build_core", reason="needs scikit-build-core to build a package")
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("target")
    shutil.copytree(ROOT / "examples/codec_package", source)
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", target, source], check=True)
    return target


@pytest.fixture
def example(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example, as if it were installed beside rarefy."""
    monkeypatch.syspath_prepend(installed)
    forget()
    yield installed
    forget()


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that installs a package of one module: offer(package, codec, attribute, source)."""

    def install(package: str, codec: str, attribute: str = "ENTRY", source: str = "") -> None:
        (tmp_path / f"{package}.py").write_text(source)
        facts = tmp_path / f"{package}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{codec} = {package}:{attribute}\n")
        forget()

    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield install
    forget()


def entry(name: str = "other", media: str = "image", home: str = "other_home:Other") -> str:
    """The source of a module with an entry."""
    return f"""
from rarefy.codecs.registry import CodecEntry
ENTRY = CodecEntry(name={name!r}, media={media!r}, summary="", home={home!r})
"""


def test_the_example_encodes_and_decodes(example: Path, photograph: Pixels) -> None:
    sizes = []
    for quality, least in ((10, 25), (50, 30), (90, 37)):
        data = rarefy.encode(photograph, codec=NAME, quality=quality)
        assert psnr(photograph, rarefy.decode(data).pixels) > least
        with rarefy.open(data) as file:
            assert (file.info.codec, file.info.size) == (NAME, (141, 97))
        sizes.append(len(data))
    assert sizes == sorted(sizes)


def test_the_example_gives_regions_and_previews(example: Path, photograph: Pixels) -> None:
    data = rarefy.encode(photograph, codec=NAME, quality=60)
    whole = rarefy.decode(data).pixels
    with rarefy.open(data) as file:
        assert np.array_equal(file.region(20, 30, 50, 40).pixels, whole[30:70, 20:70])
        means = whole[:96, :136].reshape(24, 4, 34, 4, 3).mean((1, 3))
        assert np.abs(file.preview(4).pixels[:24, :34] - means).max() < 3


def test_the_example_works_on_the_command_line(
    example: Path, photograph: Pixels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["codecs"]) == 0
    printed = capsys.readouterr()
    assert NAME in printed.out and "image " in printed.out and not printed.err
    Image.fromarray(photograph).save(tmp_path / "a.png")
    assert main(["encode", str(tmp_path / "a.png"), "--codec", NAME, "--verify"]) == 0
    assert main(["decode", str(tmp_path / "a.rfy"), "-o", str(tmp_path / "b.png")]) == 0
    assert Image.open(tmp_path / "b.png").size == (141, 97)


def test_listing_it_loads_no_torch(installed: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(installed)!r})
from rarefy.tools.cli import main
assert main(["codecs"]) == 0 and "torch" not in sys.modules
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    assert NAME in finished.stdout


def test_its_files_need_the_package(example: Path, photograph: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    data = rarefy.encode(photograph, codec=NAME)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder != str(example)])
    forget()
    with pytest.raises(UnsupportedError, match=f'made by codec "{NAME}", which is not here'):
        rarefy.decode(data)
    with rarefy.open(data) as file:
        assert file.info.codec == NAME


def test_weights_of_a_codec_whose_name_goes_on_are_left_alone(
    example: Path, photograph: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(example / "rarefy_blocks/example-blocks.safetensors", tmp_path / "image-blocks.safetensors")
    monkeypatch.setenv("RAREFY_WEIGHTS", str(tmp_path))
    with rarefy.open(rarefy.encode(photograph)) as file:
        assert file.info.codec == "image"


def test_an_entry_is_found_and_listed(offer: Callable[..., None]) -> None:
    offer("other_package", "other", source=entry())
    assert set(codecs()) == OWN | {"other"} and problems() == []
    assert find("other") == CodecEntry("other", "image", "", "other_home:Other")


@pytest.mark.parametrize(
    ("codec", "attribute", "source", "reason"),
    [
        ("other", "ENTRY", "import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("other", "ENTRY", "1 / 0", "ZeroDivisionError"),
        ("other", "NOTHING", entry(), "AttributeError"),
        ("other", "ENTRY", "ENTRY = 3", "no CodecEntry, but of type int"),
        ("other", "ENTRY", entry("another"), "calls itself 'another'"),
        ("other", "ENTRY", entry(media="smell"), "is for 'smell'"),
        ("Other", "ENTRY", entry("Other"), "name that files cannot hold"),
        ("fixture", "ENTRY", entry("fixture"), "belongs to rarefy"),
    ],
    ids=["import", "raises", "attribute", "type", "name", "medium", "letters", "reserved"],
)
def test_a_broken_package_costs_its_own_codec(
    offer: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    codec: str,
    attribute: str,
    source: str,
    reason: str,
) -> None:
    offer("broken_package", codec, attribute, source)
    offer("whole_package", "whole", source=entry("whole"))
    sys.modules.pop("broken_package", None)
    assert set(codecs()) == OWN | {"whole"}
    (problem,) = problems()
    assert "broken_package" in problem and reason in problem
    with pytest.raises(UnsupportedError, match="broken_package"):
        find(codec)
    assert main(["codecs"]) == 0
    printed = capsys.readouterr()
    assert "whole" in printed.out and reason in printed.err


def test_names_of_rarefy_are_not_taken_over(offer: Callable[..., None]) -> None:
    own = find("image")
    offer("greedy_package", "image", source=entry("image"))
    assert find("image") == own == codecs()["image"]
    assert "belongs to rarefy" in problems()[0]


def test_of_two_packages_neither_wins(offer: Callable[..., None]) -> None:
    for package in ("first_package", "second_package"):
        offer(package, "other", source=entry())
    assert set(codecs()) == OWN
    with pytest.raises(UnsupportedError, match=r"'first_package' and package 'second_package'.* all but one"):
        find("other")


@pytest.mark.parametrize(
    ("source", "reason"),
    [("1 / 0", "ZeroDivisionError"), ("", "AttributeError"), ("class Other:\n    name = 'its own'", "calls itself")],
)
def test_a_broken_class_is_told_when_it_is_built(offer: Callable[..., None], source: str, reason: str) -> None:
    offer("hollow_package", "other", source=entry(home="hollow_package_codec:Other"))
    (Path(sys.path[0]) / "hollow_package_codec.py").write_text(source)
    sys.modules.pop("hollow_package_codec", None)
    with pytest.raises(UnsupportedError, match=reason):
        build("other", {})


def test_unknown_names_list_what_there_is(offer: Callable[..., None]) -> None:
    offer("other_package", "other", source=entry())
    with pytest.raises(OptionError, match=r"image, .*other"):
        find("no-such-codec")
