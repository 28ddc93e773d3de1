"""Many files at once: what is taken, what is left out, what is coded together, and whose error is whose."""

import errno
import itertools
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import rarefy
from rarefy.codecs import api
from rarefy.codecs.container import read_info
from rarefy.codecs.folders import may_be_file
from rarefy.tools.cli import main
from rarefy.tools.commands import batch, inputs
from rarefy.tools.commands.ahead import Ahead
from rarefy.tools.commands.batch import Batch, Stages
from rarefy.tools.commands.inputs import Found, find, plan
from rarefy.tools.files import Job
from rarefy.tools.terminal import Refusal, Terminal, readable_duration

Run = Callable[..., tuple[int, str, str]]
PNGS = frozenset({".png"})


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def pictures(tmp_path: Path, photograph: NDArray[np.uint8]) -> Path:
    """A folder of twelve pictures of three sizes, mixed, in two levels."""
    for number, (height, width) in enumerate(itertools.islice(itertools.cycle([(40, 33), (17, 40), (40, 40)]), 12)):
        path = tmp_path / "in" / ("deep" if number % 2 else "") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph[number : number + height, number : number + width]).save(path)
    return tmp_path / "in"


def test_files_of_a_batch_are_those_of_single_runs(run: Run, pictures: Path, tmp_path: Path) -> None:
    code, out, err = run("encode", "-r", pictures, "-o", tmp_path / "out", "--json")
    assert code == 0
    records = [json.loads(line) for line in out.splitlines()]
    sources = sorted(pictures.rglob("*.png"))
    assert [record["source"] for record in records] == [str(path) for path in sources]
    assert err.splitlines()[-1].startswith("12 files  ")
    assert run("decode", "-r", tmp_path / "out", "-o", tmp_path / "back", "-q") == (0, "", "")
    for record, source in zip(records, sources, strict=True):
        single = np.asarray(rarefy.decode(rarefy.encode(source))).astype(int)
        with Image.open(tmp_path / "back" / source.relative_to(pictures)) as again:
            assert again.size == read_info(record["target"]).size == single.shape[1::-1]
            assert np.abs(np.asarray(again) - single).mean() < 1  # of 255: rounding may differ, pictures may not


def test_pictures_of_one_size_are_encoded_together(
    run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    whole = api.encode

    def counting(images: list[rarefy.Image], **options: object) -> list[bytes]:
        counts.append(len(images))
        return whole(images, **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(api, "encode", counting)
    assert run("encode", "-r", pictures, "-o", tmp_path / "out")[0] == 0
    assert counts == [4, 4, 4]


def test_an_error_of_coding_is_that_of_one_file(
    run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = api.encode
    bad = np.asarray(Image.open(pictures / "06.png"))

    def choosy(images: list[rarefy.Image], **options: object) -> list[bytes]:
        if any(np.array_equal(image.pixels, bad) for image in images):
            raise rarefy.RarefyError("this one does not code")
        return whole(images, **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(api, "encode", choosy)
    code, _, err = run("encode", "-r", pictures, "-o", tmp_path / "out")
    assert code == 1
    errors = [line for line in err.splitlines() if line.startswith("rarefy: ")]
    assert errors == [f"rarefy: error: {pictures}/06.png: this one does not code"]
    assert len(names(tmp_path / "out")) == 11
    assert err.splitlines()[-1].endswith(", 1 failed")


def test_a_batch_goes_on_where_it_stopped(run: Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("encode", "-r", pictures, "-o", out)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.rfy")}
    (out / "00.rfy").unlink()
    (out / "02.rfy").write_bytes(b"")
    (out / "04.rfy").write_bytes((out / "04.rfy").read_bytes()[:-1])
    code, _, err = run("encode", "-r", pictures, "-o", out, "--skip-existing")
    assert code == 0
    made = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert made == {"00.rfy", "02.rfy", "04.rfy"}
    assert [line.split()[0] for line in err.splitlines()[:-1]] == [f"{pictures}/0{n}.png" for n in (0, 2, 4)]
    assert err.splitlines()[-1].endswith(", 9 skipped")
    assert run("verify", out)[0] == 0


def test_what_is_no_output_of_ours_is_neither_trusted_nor_overwritten(run: Run, picture: Path) -> None:
    target = picture.with_suffix(".rfy")
    target.write_bytes(b"my notes")
    code, _, err = run("encode", picture, "--skip-existing")
    assert code == 1
    assert err.startswith(f"rarefy: error: {target}: exists already and is no output of this command (")
    assert target.read_bytes() == b"my notes"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("is_cut", [False, True])
def test_pictures_that_were_cut_are_made_again(
    run: Run, small_file: Path, photograph: NDArray[np.uint8], kind: str, is_cut: bool
) -> None:
    target = small_file.with_suffix("." + kind.lower())
    Image.fromarray(photograph).save(target, format=kind)
    whole = target.read_bytes()
    target.write_bytes(whole[: len(whole) // 2] if is_cut else whole + b"what cameras put behind")
    before = target.read_bytes()
    assert run("decode", small_file, "-o", target, "--skip-existing")[0] == 0
    assert (target.read_bytes() != before) == is_cut
    with Image.open(target) as picture:
        assert (picture.format, picture.size) == (kind, (141, 97))


def test_a_preview_inside_a_photograph_is_not_its_end(run: Run, small_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "kept.jpg"
    segment = b"\xff\xd8\xff\xd9"  # a whole JPEG, as an EXIF preview is one
    target.write_bytes(b"\xff\xd8\xff\xe1" + (2 + len(segment)).to_bytes(2, "big") + segment + b"\xff\xda\0\2cut here")
    assert run("decode", small_file, "-o", target, "--skip-existing")[0] == 0
    with Image.open(target) as picture:
        assert picture.size == (141, 97)


def touch(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("*.png", {"a.png", "b.png"}),
        ("?.png", {"a.png", "b.png"}),
        ("[b-z].png", {"b.png"}),
        ("**/*.png", {"a.png", "b.png", "x/c.png", "x/y/d.png"}),
        ("*/*", {"x/c.png"}),
        ("x/**/*.png", {"c.png", "y/d.png"}),
        ("[1].png", {"[1].png"}),
    ],
)
def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, taken: set[str]) -> None:
    touch(tmp_path, "a.png", "b.png", "x/c.png", "x/y/d.png", "x/notes.txt", ".hidden.png", ".trash/e.png")
    if pattern == "[1].png":  # a file that bears the name of a pattern
        touch(tmp_path, pattern, "1.png")
    monkeypatch.chdir(tmp_path)
    found = find([pattern], PNGS, is_recursive=False)
    assert {str(item.relative) for item in found} == taken
    assert [item.source for item in found] == sorted(item.source for item in found)


def test_a_pattern_without_files_is_no_success(run: Run, tmp_path: Path) -> None:
    code, _, err = run("encode", tmp_path / "*.png")
    assert code == 1
    assert err.startswith(f"rarefy: error: {tmp_path}/*.png: matches no file that ends in ")


def test_links_that_lead_back_are_followed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "in/a.png", "in/sub dir/b.png", "elsewhere/c.png")
    for name in ("in/sub dir/one", "in/sub dir/two"):
        Path(name).symlink_to("..")
    Path("in/linked").symlink_to(tmp_path / "elsewhere")
    Path("in/lost.png").symlink_to("nowhere")
    once = ["in/a.png", "in/linked/c.png", "in/lost.png", "in/sub dir/b.png"]
    for name in ("in", "in/**/*.png", "i?/**/*.png", "**/in/**/*.png"):
        assert [found.source for found in find([name], frozenset({".png"}), True)] == once
    assert [found.source for found in find(["in/*/*.png"], frozenset({".png"}), True)] == [once[1], once[3]]
    assert str(find(["in/**/b.png"], frozenset({".png"}), True)[0].relative) == "sub dir/b.png"


def test_folders_are_called_by_their_own_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a link and a folder lead to the same, and where only a link leads into what is hidden."""
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "in/run3/x.png", "in/.store/a.png", "in/z/sub/b.png")
    Path("in/latest").symlink_to("run3")
    Path("in/current").symlink_to(".store")
    Path("in/a").symlink_to("z/sub")
    os.mkfifo("in/pipe.png")
    own = ["in/current/a.png", "in/run3/x.png", "in/z/sub/b.png"]
    for name in ("in", "in/**/*.png"):
        assert [found.source for found in find([name], PNGS, True)] == own
    with pytest.raises(Refusal):
        find(["in/p*.png"], PNGS, True)  # reading would wait for a writer
    monkeypatch.setattr(Path, "is_file", lambda path: os.stat("in/nowhere/below") is None)
    assert may_be_file(Path("in/run3/x.png"))


def test_folders_that_cannot_be_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A superuser may read all, so the system is made to refuse."""
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "in/closed/b.png")
    Image.new("RGB", (8, 8)).save("in/a.png")
    scan, read = os.scandir, Path.read_bytes

    def refuse(work: Callable[[Any], Any], path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return work(path)

    monkeypatch.setattr(os, "scandir", partial(refuse, scan))
    monkeypatch.setattr(Path, "read_bytes", lambda path: refuse(read, path))
    assert main(["encode", "-r", "in", "-o", "out"]) == 1
    assert "rarefy: error: in/closed: permission denied\n" in capsys.readouterr().err
    assert names(tmp_path / "out") == {"a.rfy"}
    assert main(["encode", "-r", "in/closed", "-o", "out"]) == 1
    assert capsys.readouterr().err == "rarefy: error: in/closed: permission denied\n"
    assert main(["transcode", "-r", "in", "out", "-f"]) == 1
    assert "rarefy: error: in/closed: permission denied\n" in capsys.readouterr().err


def test_hidden_files_of_folders_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "._a.png", ".trash/b.png", "x/.c.png")
    assert [str(item.relative) for item in find([str(tmp_path)], PNGS, is_recursive=True)] == ["a.png"]


def test_links_in_a_circle_are_told(run: Run, tmp_path: Path, small_file: Path) -> None:
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    for arguments in ([circle], [small_file, "-o", circle]):
        code, _, err = run("decode", *arguments)
        assert code == 1 and "too many levels of symbolic links" in err


def test_an_input_with_the_name_of_its_output_is_told(run: Run, picture: Path) -> None:
    code, _, err = run("decode", picture)
    assert code == 2 and f"{picture}: its output would have its own name" in err


def test_one_output_of_two_inputs_is_refused_through_links_too(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "other/a.png")
    (tmp_path / "out").symlink_to(tmp_path / "in")
    found = find([str(tmp_path / "in"), str(tmp_path / "other")], PNGS, is_recursive=True)
    with pytest.raises(Refusal, match="would both be written to"):
        plan(found, str(tmp_path / "new"), ".rfy")
    with pytest.raises(Refusal, match="is an input"):
        plan(found[:1], str(tmp_path / "out"), ".png")


@dataclass(frozen=True)
class Medium:
    """A number that stands for a picture."""

    number: int
    shape: int
    pixels: int = 1
    size_bytes: int = 1


def jobs_of(folder: Path, count: int) -> list[Job]:
    return [Job(str(number), str(folder / str(number))) for number in range(count)]


def test_loading_is_bounded_and_in_order() -> None:
    held, most, lock = 0, 0, threading.Lock()

    def load(number: int) -> int:
        nonlocal held, most
        with lock:
            held += 10
            most = max(most, held)
        if number == 7:
            raise ValueError("seven")
        return number

    outcomes = []
    for number, loaded in Ahead(range(50), load, lambda _: 10, budget=40, threads=2):
        with lock:
            held -= 10
        outcomes.append(loaded if isinstance(loaded, int) else str(loaded))
        assert number == len(outcomes) - 1
    assert outcomes == [*range(7), "seven", *range(8, 50)]
    assert most <= 40 + 2 * 10 + 10  # the budget, one a thread, and the one that is being handed over


def test_large_media_are_coded_one_by_one_and_small_ones_in_bounded_groups(tmp_path: Path) -> None:
    groups: list[list[int]] = []

    def code(media: Sequence[Medium]) -> list[int]:
        groups.append([medium.number for medium in media])
        return groups[-1]

    def load(job: Job) -> Medium:
        number = int(job.source)
        return Medium(number, shape=number % 2, pixels=batch.TOGETHER_PIXELS if number % 2 else 1)

    reported: list[int] = []
    stages = Stages(load, code, lambda _, one: one, lambda _, one, __: reported.append(one), lambda _, __: 1)
    assert Batch(jobs_of(tmp_path, 64), stages).run() == 0
    assert reported == list(range(64))
    assert sorted(itertools.chain(*groups)) == list(range(64))
    for group in groups:
        assert len(group) == 1 if group[0] % 2 else len(group) <= batch.TOGETHER
    assert max(map(len, groups)) > 1


def test_a_full_disk_ends_a_batch(tmp_path: Path) -> None:
    def finish(job: Job, number: int) -> int:
        if number == 3:
            raise OSError(errno.ENOSPC, "No space left on device", job.target)
        return number

    reported: list[int] = []
    stages = Stages(
        load=lambda job: Medium(int(job.source), 0),
        code=lambda media: [medium.number for medium in media],
        finish=finish,
        report=lambda _, one, __: reported.append(one),
        fail=lambda _, __: 1,
    )
    with pytest.raises(Refusal, match="there is no room on the disk, the run ends after 3 of 200 files") as caught:
        Batch(jobs_of(tmp_path, 200), stages).run()
    assert "--skip-existing" in caught.value.hint
    assert reported == [0, 1, 2]


def test_an_interrupt_lets_files_that_are_being_written_become_whole(tmp_path: Path) -> None:
    started, finished = threading.Event(), []

    def code(media: Sequence[Medium]) -> list[int]:
        if media[0].number >= batch.WINDOW:
            started.wait(10)
            raise KeyboardInterrupt
        return [medium.number for medium in media]

    def finish(job: Job, number: int) -> int:
        started.set()
        finished.append(number)
        return number

    stages = Stages(lambda job: Medium(int(job.source), 0), code, finish, lambda *_: None, lambda *_: 1)
    with pytest.raises(KeyboardInterrupt):
        Batch(jobs_of(tmp_path, 2 * batch.WINDOW), stages).run()
    assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]
    assert finished == sorted(finished)


def test_progress_is_shown_on_terminals_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    terminal._begin -= 10
    terminal.progress(5, 20)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    terminal.progress(5, 20)
    terminal.say("cat.png")
    assert capsys.readouterr().err == "5 of 20, 0.5 files/s, 30 s left\r\x1b[Kcat.png\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert readable_duration(seconds) == text


def test_several_inputs_do_not_make_a_folder_with_the_name_of_a_file(tmp_path: Path) -> None:
    found = [Found("a.png", Path("a.png"), False), Found("b.png", Path("b.png"), False)]
    with pytest.raises(Refusal, match="the name of one file"):
        plan(found, str(tmp_path / "out.rfy"), ".rfy")
    assert plan(found, str(tmp_path / "out.rfy") + os.sep, ".rfy")[1].target == str(tmp_path / "out.rfy" / "b.rfy")


@pytest.mark.parametrize("ignores", [True, False])
def test_names_that_differ_by_case_alone(ignores: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_ignores_case", lambda folder: ignores)
    found = [Found(str(tmp_path / name), Path(name), False) for name in ("IMG_1.JPG", "img_1.png")]
    composed = [Found(str(tmp_path / name), Path(name), False) for name in ("é.png", "e\u0301.jpg")]
    for pair in (found, composed):
        if ignores:
            with pytest.raises(Refusal, match="would both be written to"):
                plan(pair, None, ".rfy")
        else:
            assert len(plan(pair, None, ".rfy")) == 2
    if ignores:
        with pytest.raises(Refusal, match="is an input"):
            plan([Found(str(tmp_path / "z.png"), Path("z.png"), False)], str(tmp_path / "Z.PNG"), ".rfy")


def test_a_file_system_says_itself_whether_case_counts(tmp_path: Path) -> None:
    (tmp_path / "Name").touch()
    assert inputs._ignores_case(tmp_path / "not" / "there") == (tmp_path / "nAME").exists()
    (tmp_path / "nAME").touch()
    assert inputs._ignores_case(tmp_path) == (tmp_path / "nAME").samefile(tmp_path / "Name")


def test_one_name_of_a_large_folder_tells_whether_case_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (tmp_path / f"a{number}").touch()
    asked: list[Path] = []
    samefile = Path.samefile
    monkeypatch.setattr(Path, "samefile", lambda one, other: asked.append(one) or samefile(one, other))
    inputs._ignores_case(tmp_path / "new")
    assert len(asked) == 1
