"""What the package gives to shells and desktops: current, complete, and understood by the programs that read it."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rarefy.codecs.header import CODEC_NUMBERS, SIGNATURE
from rarefy.tools import cli, terminal
from rarefy.tools.pages import man
from rarefy.tools.pages.checkout import ROOT, SHARE, pages, stale
from rarefy.tools.pages.commands import Command, Option, Value, read_commands
from rarefy.tools.pages.fish import fish_completion
from rarefy.tools.pages.media_type import MEDIA_TYPE
from rarefy.tools.pages.zsh import zsh_completion

BASH = "bash-completion/completions/rarefy"
ZSH = "zsh/site-functions/_rarefy"
FISH = "fish/vendor_completions.d/rarefy.fish"
MAN = "man/man1/rarefy.1"
MIME = "mime/packages/rarefy.xml"
MAGIC = "rarefy/rarefy.magic"
FORMAT = (ROOT / "docs/FORMAT.md").read_text(encoding="utf-8")


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")


@pytest.fixture(scope="module")
def root() -> Command:
    return read_commands()


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as they are written now: that those of the checkout are the same is a test of its own."""
    folder = tmp_path_factory.mktemp("share")
    for name, page in pages().items():
        if name.startswith(f"{SHARE}/"):
            path = folder / name.removeprefix(f"{SHARE}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page, encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with files of several kinds, one of whose names has a space, and a folder."""
    for name in ("cat.png", "DOG.JPG", "my holiday.png", "kept.rfy", "notes.txt", "image.toml"):
        (tmp_path / name).touch()
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bash(share: Path, lines: Sequence[Sequence[str]]) -> list[set[str]]:
    """Complete the last word of each line as bash does; returns what it offers for each."""
    script = [f'source "{share / BASH}"']
    for words in lines:
        quoted = " ".join(f"'{word}'" for word in words)
        script += [f"COMP_WORDS=({quoted})", f"COMP_CWORD={len(words) - 1}", "_rarefy"]
        script += ["printf '%s\\n' \"${COMPREPLY[@]}\"", "echo ---"]
    done = subprocess.run(["bash", "--norc", "-c", "\n".join(script)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [set(offered.split("\n")) - {""} for offered in done.stdout.split("---\n")[:-1]]


def fish(share: Path, line: str) -> set[str]:
    """Complete a line as fish does; returns the words without their descriptions."""
    script = f"source {share / FISH}; complete -C '{line}'"
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return {offered.split("\t")[0] for offered in done.stdout.splitlines()}


def test_pages_are_current() -> None:
    assert sorted(stale()) == [], "run `make pages` and commit what it changes"


def test_the_tree_of_commands_is_that_of_the_parsers(root: Command) -> None:
    names = {command.name for command in root.walk()}
    assert {f"rarefy {verb}" for verb in cli.PASSED_ON} < names
    assert {"rarefy encode", "rarefy bench images", "rarefy weights verify"} < names
    encode = next(command for command in root.commands if command.words[-1] == "encode")
    options = {flag: option for option in encode.options for flag in option.flags}
    assert options["-f"].value is None
    assert options["--codec"].value == Value(
        "NAME", "choice", choices=("image", "walloc-audio", "walloc-image", "walloc-rgb")
    )
    assert encode.operands[0].value.is_repeated
    assert set(encode.operands[0].value.suffixes) >= {".png", ".jpg", ".webp"}


@needs("bash")
def test_bash_offers_every_verb_and_every_option(share: Path, root: Command) -> None:
    commands = list(root.walk())
    verbs = bash(share, [[*command.words, ""] for command in commands])
    flags = bash(share, [[*command.words, "-"] for command in commands])
    for command, offered, options in zip(commands, verbs, flags, strict=True):
        assert {below.words[-1] for below in command.commands} <= offered, command.name
        assert {flag for option in command.options for flag in option.flags} == options, command.name


@needs("bash")
def test_bash_offers_the_files_that_a_verb_takes(share: Path, folder: Path) -> None:
    encode, begun, decode, train, output, data, between = bash(
        share,
        [
            ["rarefy", "encode", ""],
            ["rarefy", "encode", "my"],
            ["rarefy", "decode", "kept.rfy", ""],
            ["rarefy", "train", "i"],
            ["rarefy", "encode", "cat.png", "-o", ""],
            ["rarefy", "train", "image.toml", "--data", "pictures", ""],
            ["rarefy", "encode", "-f", "cat.png", "c"],
        ],
    )
    assert encode == {"cat.png", "DOG.JPG", "my holiday.png", "pictures"}
    assert begun == {"my holiday.png"}
    assert decode == {"kept.rfy", "pictures"}
    assert train == {"image.toml"}
    assert output >= {"notes.txt", "kept.rfy", "pictures"}
    assert data == {"pictures"}
    assert between == {"cat.png"}


@needs("bash")
def test_bash_offers_the_values_of_options(share: Path, folder: Path) -> None:
    device, spelled, begun, number, bench = bash(
        share,
        [
            ["rarefy", "decode", "--device", ""],
            ["rarefy", "decode", "--device", "=", "cu"],
            ["rarefy", "encode", "--codec", "=", "im"],
            ["rarefy", "encode", "--quality", ""],
            ["rarefy", "bench", "speed", "--json", "no"],
        ],
    )
    assert (device, spelled, begun, number) == ({"cpu", "cuda"}, {"cuda"}, {"image"}, set())
    assert bench == {"notes.txt"}  # --json takes a file here, and none elsewhere


@needs("fish")
def test_fish_offers_what_bash_does(share: Path, root: Command, folder: Path) -> None:
    bench = next(command for command in root.commands if command.words[-1] == "bench")
    assert {below.words[-1] for below in root.commands} <= fish(share, "rarefy ")
    assert {below.words[-1] for below in bench.commands} == fish(share, "rarefy bench ")
    assert fish(share, "rarefy encode ") == {"cat.png", "DOG.JPG", "my holiday.png", "pictures/"}
    assert fish(share, "rarefy decode k") == {"kept.rfy"}
    assert fish(share, "rarefy decode --device ") == {"cpu", "cuda"}
    for command in root.commands:
        long_flags = {flag for option in command.options for flag in option.flags if flag.startswith("--")}
        assert fish(share, f"{command.name} --") == long_flags


@needs("zsh")
def test_zsh_reads_its_file(share: Path, root: Command) -> None:
    script = f"""
        fpath=({(share / ZSH).parent} $fpath)
        autoload -U compinit && compinit -u -D
        source {share / ZSH}
        print -l ${{(k)functions}}
    """
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert {"_" + "_".join(command.words) for command in root.walk()} <= set(done.stdout.split())


def test_words_that_mean_something_to_a_shell_are_quoted() -> None:
    option = Option(("--odd",), "it's [odd]: $HOME", Value("X", "text"))
    command = Command(("rarefy",), "", "", (option,), (), ())
    assert r"--odd=[it'\''s \[odd\]\: $HOME]:X: " in zsh_completion(command)
    assert r"-l odd -x -d 'it\'s [odd]: $HOME'" in fish_completion(command)


@needs("groff")
def test_the_man_page_is_set_without_warnings(share: Path, root: Command) -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tascii", "-P-cbou", str(share / MAN)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    for command in root.walk():
        for option in command.options:
            assert any(re.search(rf"^ +.*{re.escape(flag)}\b", done.stdout, re.M) for flag in option.flags), (
                option.flags
            )


def test_the_man_page_tells_what_the_program_knows() -> None:
    assert [code for code, _ in man.EXIT_STATUS] == [
        str(code) for code in (terminal.DONE, terminal.FAILED, terminal.USAGE, terminal.DAMAGED)
    ]
    read = {
        name
        for package in ("codecs", "entropy", "kernels", "tools")
        for path in (ROOT / package).rglob("*.py")
        if "pages" not in path.parts
        for name in re.findall(r"environ[^\n]*[\"'](RAREFY_\w+|NO_COLOR)[\"']", path.read_text(encoding="utf-8"))
    }
    assert read == {name for name, _ in man.ENVIRONMENT}


def test_the_man_page_names_the_files_of_the_package(share: Path) -> None:
    shared = {f"share/{path.relative_to(share).as_posix()}" for path in share.rglob("*") if path.is_file()}
    assert shared - {"share/man/man1/rarefy.1"} == {name for name, _ in man.INSTALLED}


def test_the_examples_of_the_man_page_parse() -> None:
    parser = cli.build_parser()
    for _, example in man.EXAMPLES:
        for part in example.split("|"):
            parser.parse_args(re.sub(r"[<>] \S+", "", part).split()[1:])


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The three whole files of FORMAT.md, section 9."""
    paths = []
    for number, block in enumerate(re.findall(r"^```hex\n(.*?)^```$", FORMAT, re.M | re.S)):
        octets = [match for line in block.splitlines() for match in re.findall(r"^((?:[0-9A-F]{2} ?)+)", line)]
        path = tmp_path_factory.mktemp("examples") / f"{number}.bin"
        path.write_bytes(bytes.fromhex("".join(octets)))
        paths.append(path)
    assert len(paths) == 3
    return paths


@needs("file")
def test_file_knows_our_files(share: Path, examples: list[Path]) -> None:
    def tell(*options: str) -> list[str]:
        command = ["file", "-b", "-m", str(share / MAGIC), *options, *map(str, examples)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    files = ("picture", "fixture"), ("picture", "mine"), ("sound", "walloc-audio")
    assert tell() == [f"rarefy {medium}, format version 1, codec {codec}" for medium, codec in files]
    assert tell("--mime-type") == [MEDIA_TYPE] * 3
    assert tell("--extension") == ["rfy"] * 3


def test_the_magic_names_every_codec_with_a_number(share: Path) -> None:
    named = re.findall(r"^>>6\tubyte\t(\d+)\t\\b, codec (\S+)$", (share / MAGIC).read_text(encoding="utf-8"), re.M)
    assert {name: int(number) for number, name in named} == dict(CODEC_NUMBERS)


def test_the_media_type_is_that_of_the_format(share: Path) -> None:
    assert f"the media type is `{MEDIA_TYPE}`" in FORMAT
    assert "File names end in `.rfy`" in FORMAT
    names = {"m": "http://www.freedesktop.org/standards/shared-mime-info"}
    kind = ElementTree.parse(share / MIME).getroot().find("m:mime-type", names)
    assert kind is not None
    match, glob = kind.find("m:magic/m:match", names), kind.find("m:glob", names)
    assert match is not None and glob is not None
    assert (kind.get("type"), glob.get("pattern")) == (MEDIA_TYPE, "*.rfy")
    assert (match.get("type"), match.get("offset")) == ("big32", "0")
    assert int(match.get("value", ""), 16).to_bytes(4, "big") == SIGNATURE


@needs("update-mime-database")
def test_the_desktop_takes_the_media_type(share: Path, tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    shutil.copy(share / MIME, tmp_path / "packages")
    subprocess.run(
        ["update-mime-database", str(tmp_path)], check=True, env=os.environ | {"XDG_DATA_HOME": str(tmp_path)}
    )
    assert f"50:{MEDIA_TYPE}:*.rfy\n" in (tmp_path / "globs2").read_text()
    assert SIGNATURE in (tmp_path / "magic").read_bytes()


def test_wheels_install_what_is_shared() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["scikit-build"]["wheel"]
    assert settings["force-include"][SHARE] == "${SKBUILD_DATA_DIR}/share"
    assert f"rarefy/{SHARE}" in settings["exclude"]
