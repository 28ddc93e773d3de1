"""The command line with real files and pipes: outputs, words, exit codes, and that failures leave nothing behind."""

import errno
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rarefy
from rarefy.codecs import api
from rarefy.codecs.container import read_info
from rarefy.codecs.registry import codecs
from rarefy.codecs.unfinished import whole_file
from rarefy.tools.terminal import readable_size

Run = Callable[..., tuple[int, str, str]]


def process(*arguments: str | Path, **options: object) -> "subprocess.Popen[bytes]":
    """Start the command line as a program, with signals as a terminal has them: background jobs ignore interrupts."""
    command = [sys.executable, "-m", "rarefy", *map(str, arguments)]
    options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    return subprocess.Popen(command, stderr=subprocess.PIPE, cwd="/", **options)  # type: ignore[call-overload,no-any-return]


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_encode_and_decode_next_to_the_input(run: Run, picture: Path) -> None:
    code, out, err = run("encode", picture, "--quality", "30")
    target = picture.with_suffix(".rfy")
    assert (code, out) == (0, "")
    assert re.fullmatch(r"\S+cat\.png  \d+\.\d kB -> (\d+ B|\d+\.\d kB) \(\d+\.\d\d bpp\) \d+ ms\n", err)
    assert read_info(target).quality == 30
    picture.unlink()
    assert run("decode", target)[0] == 0
    assert np.array_equal(np.asarray(Image.open(picture)), np.asarray(rarefy.decode(target.read_bytes())))


def test_json_describes_each_file(run: Run, picture: Path, tmp_path: Path) -> None:
    code, out, _ = run("encode", picture, "--json", "--quality", "70", "-q")
    record = json.loads(out)
    target = tmp_path / "cat.rfy"
    assert code == 0
    assert record["size_bytes"] == target.stat().st_size
    assert record["source_bytes"] == picture.stat().st_size
    assert record["bits_per_pixel"] == pytest.approx(read_info(target).bits_per_pixel)
    assert (record["width"], record["height"], record["quality"]) == (141, 97, 70)


def test_pipes(picture: Path, tmp_path: Path) -> None:
    with picture.open("rb") as source:
        first = process("encode", "-", "-o", "-", stdin=source, stdout=subprocess.PIPE)
    second = process("decode", "-", "-o", "-", stdin=first.stdout, stdout=subprocess.PIPE)
    assert first.stdout
    first.stdout.close()
    out, err = second.communicate()
    assert (first.wait(), second.returncode) == (0, 0), err
    with Image.open(io.BytesIO(out)) as decoded:
        assert (decoded.format, decoded.size) == ("PNG", (141, 97))
    assert names(tmp_path) == {"cat.png"}


@pytest.mark.parametrize(
    ("name", "kind"), [("x.jpg", "JPEG"), ("x.webp", "WEBP"), ("x.PNG", "PNG"), ("x.tif", "TIFF"), ("x", "PNG")]
)
def test_the_name_of_the_output_chooses_its_format(
    run: Run, small_file: Path, tmp_path: Path, name: str, kind: str
) -> None:
    assert run("decode", small_file, "-o", tmp_path / name)[0] == 0
    with Image.open(tmp_path / name) as decoded:
        assert decoded.format == kind


def test_existing_outputs_are_kept_unless_forced(run: Run, picture: Path) -> None:
    target = picture.with_suffix(".rfy")
    target.write_bytes(b"precious")
    code, _, err = run("encode", picture)
    assert code == 1
    error, hint = err.splitlines()
    assert error == f"rarefy: error: {target}: exists already"
    assert hint == "rarefy: hint: add -f to overwrite it, or name another output with -o"
    assert target.read_bytes() == b"precious"
    assert run("encode", picture, "-f")[0] == 0
    assert read_info(target).size == (141, 97)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-verb"],
        ["encode"],
        ["encode", "cat.png", "--quality", "101"],
        ["encode", "cat.png", "--quality", "-1"],
        ["encode", "cat.png", "--quality", "nan"],
        ["encode", "cat.png", "--quality", "high"],
        ["encode", "cat.png", "--threads", "0"],
        ["encode", "cat.png", "--codec", "no-such-codec"],
        ["encode", "cat.png", "--no-such-option"],
        ["encode", "cat.png", "cat.jpg"],
        ["encode", "cat.png", "cat.png", "-o", "out/"],
        ["encode", "cat.png", "dog.png", "-o", "-"],
        ["encode", "cat.png", "-o", "-", "--json"],
        ["encode", "cat.png", "-o", "cat.png", "-f"],
        ["encode", "cat.png", "dog.png", "-o", "cat.jpg"],
        ["encode", "."],
        ["decode", "cat.png"],
        ["decode", "cat.png", "-o", "cat.unknown"],
        ["decode", "cat.png", "-o", "cat.gif"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused_before_any_work(
    run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(picture.parent)
    Path("cat.jpg").write_bytes(picture.read_bytes())
    Path("dog.png").write_bytes(picture.read_bytes())
    before = names(picture.parent)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert re.match(r"rarefy: error: [^A-Z\n][^\n]*[^.\n]\n(rarefy: hint: [^\n]+\n)?\Z", err)
    assert names(picture.parent) == before


def damages(data: bytes) -> dict[str, bytes]:
    """Return files that must not decode."""
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    return {
        "cut": data[:-1],
        "flipped": bytes(flipped),
        "empty": b"",
        "text": b"hello, world\n",
        "longer": data + b"\0",
    }


@pytest.mark.parametrize("kind", ["cut", "flipped", "empty", "text", "longer"])
@pytest.mark.parametrize("verb", ["decode", "verify"])
def test_damaged_files_exit_with_3(run: Run, encoded: bytes, tmp_path: Path, verb: str, kind: str) -> None:
    path = tmp_path / "bad.rfy"
    path.write_bytes(damages(encoded)[kind])
    code, out, err = run(verb, path)
    assert (code, out) == (3, "")
    assert re.match(rf"rarefy: error: {re.escape(str(path))}: [^\n]+[^.\n]\n\Z", err)
    assert names(tmp_path) == {"bad.rfy"}


@pytest.mark.parametrize(("content", "expected"), [(b"no picture", 3), (b"", 3), (None, 1)])
def test_unreadable_pictures(run: Run, tmp_path: Path, content: bytes | None, expected: int) -> None:
    path = tmp_path / "cat.png"
    if content is not None:
        path.write_bytes(content)
    before = names(tmp_path)
    code, _, err = run("encode", path)
    assert code == expected
    assert re.match(rf"rarefy: error: {re.escape(str(path))}(: no such file| is a text file| is empty)", err)
    assert err.count("\n") == 1
    assert names(tmp_path) == before


def test_a_batch_goes_on_and_exits_with_the_worst(run: Run, picture: Path, tmp_path: Path) -> None:
    bad, last, missing = tmp_path / "bad.png", tmp_path / "last.png", tmp_path / "missing.png"
    bad.write_bytes(b"no picture")
    last.write_bytes(picture.read_bytes())
    code, out, err = run("encode", picture, bad, missing, last, "-o", tmp_path / "small/", "--json")
    assert code == 3
    assert names(tmp_path / "small") == {"cat.rfy", "last.rfy"}
    records = [json.loads(line) for line in out.splitlines()]
    assert [record.get("exit", 0) for record in records] == [0, 3, 1, 0]
    assert err.count("rarefy: error: ") == 2
    assert re.search(r"\n2 files  \d+\.\d kB -> .* \(\d\.\d\d bpp\) in .* \(.* files/s\), 2 failed\n\Z", err)


def test_folders_are_mirrored(run: Run, picture: Path, tmp_path: Path) -> None:
    deep = tmp_path / "in" / "a" / "b"
    deep.mkdir(parents=True)
    picture.rename(deep / "cat.png")
    (deep / "notes.txt").write_text("no picture")
    assert run("encode", "-r", tmp_path / "in", "-o", tmp_path / "small")[0] == 0
    assert names(tmp_path / "small") == {"a/b/cat.rfy"}
    assert run("verify", tmp_path / "small")[0] == 0
    assert run("decode", "-r", tmp_path / "small", "-o", tmp_path / "back")[0] == 0
    assert names(tmp_path / "back") == {"a/b/cat.png"}


def test_a_folder_without_files_is_no_success(run: Run, tmp_path: Path) -> None:
    assert run("verify", tmp_path)[0] == 1
    assert run("encode", "-r", tmp_path)[0] == 1


def test_verify_checks_every_file_of_a_folder(run: Run, small_file: Path, tmp_path: Path, encoded: bytes) -> None:
    code, out, err = run("verify", tmp_path, "--json")
    assert (code, json.loads(out)["is_whole"]) == (0, True)
    assert err.startswith(f"{small_file}  ")
    (tmp_path / "zbad.rfy").write_bytes(damages(encoded)["flipped"])
    code, _, err = run("verify", tmp_path)
    assert code == 3
    assert err.splitlines()[1].startswith(f"rarefy: error: {tmp_path}/zbad.rfy: ")
    assert err.splitlines()[2] == "1 of 2 files are whole"


def test_info_tells_what_the_header_says(run: Run, small_file: Path, encoded: bytes) -> None:
    code, out, _ = run("info", small_file, "--json")
    assert code == 0
    assert json.loads(out) == {"source": str(small_file), **read_info(encoded).to_dict()}
    code, out, _ = run("info", small_file)
    assert code == 0
    for fact in ("image", "141x97, RGB, 8 bit", readable_size(len(encoded)), read_info(encoded).weights):
        assert fact in out


def test_info_needs_no_torch(small_file: Path) -> None:
    program = f"""
import sys
from rarefy.tools.cli import main
code = main(["info", {str(small_file)!r}])
sys.exit(code or 9 * ("torch" in sys.modules))
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd="/", stdout=subprocess.DEVNULL)


def test_codecs_lists_all(run: Run) -> None:
    code, out, _ = run("codecs")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()[1:]} == set(codecs())
    code, out, _ = run("codecs", "--json")
    assert {json.loads(line)["name"] for line in out.splitlines()} == set(codecs())


def test_quiet_says_nothing(run: Run, picture: Path) -> None:
    assert run("encode", picture, "-q", "--verify") == (0, "", "")


def test_verify_refuses_what_does_not_decode(run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = api.encode

    def damaging(*given: object, **options: object) -> list[bytes]:
        return [damages(data)["flipped"] for data in whole(*given, **options)]  # type: ignore[call-overload]

    monkeypatch.setattr(api, "encode", damaging)
    code, _, err = run("encode", picture, "--verify")
    assert code == 1
    assert "does not decode" in err
    assert names(picture.parent) == {"cat.png"}


def test_verify_refuses_another_picture(run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = api.decode

    def inverting(*given: object, **options: object) -> list[object]:
        images = whole(*given, **options)  # type: ignore[call-overload]
        return [replace(image, pixels=255 - image.pixels) for image in images]

    monkeypatch.setattr(api, "decode", inverting)
    code, _, err = run("encode", picture, "--verify")
    assert code == 1 and "another picture" in err
    assert names(picture.parent) == {"cat.png"}


def test_defects_become_a_sentence(run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object, **options: object) -> bytes:
        raise TypeError("a defect")

    monkeypatch.setattr(api, "encode", broken)
    code, _, err = run("encode", picture)
    assert code == 1
    assert err.startswith(f"rarefy: error: {picture}: internal error (TypeError: a defect)\nrarefy: hint: ")
    assert "Traceback" in run("encode", picture, "-v")[2]


def test_names_cannot_command_the_terminal(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "\x1bcat\nrarefy: error: forged.png"
    _, _, err = run("encode", path)
    assert err == f"rarefy: error: {tmp_path}/\\x1bcat\\nrarefy: error: forged.png: no such file or directory\n"


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"precious")
    with pytest.raises(KeyboardInterrupt), whole_file(target) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert names(tmp_path) == {"file"}
    assert target.read_bytes() == b"precious"


def test_links_stay_links_and_files_get_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "folder" / "file")
    with whole_file(link) as file:
        file.write(b"whole")
    assert link.is_symlink()
    assert (tmp_path / "folder" / "file").read_bytes() == b"whole"
    (tmp_path / "usual").touch()
    assert (tmp_path / "folder" / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_pipes_with_names_are_written_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    with whole_file(pipe) as file:
        file.write(b"whole")
    reader.join(timeout=10)
    assert received == [b"whole"]
    assert pipe.is_fifo()


@contextmanager
def opened_by_both(pipe: Path, child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Open a pipe for writing once a child has opened it for reading; fail where the child ends without that."""
    handle = None
    while handle is None:
        assert child.poll() is None, child.communicate()[1]
        try:
            handle = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO, error
            time.sleep(0.02)
    try:
        yield
    finally:
        os.close(handle)


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_streams_that_a_shell_closed_are_nothing(small_file: Path) -> None:
    rarefy = f"cd {shlex.quote(str(small_file.parent))} && {shlex.quote(sys.executable)} -m rarefy"
    for command, code in (("info kept.rfy >&-", 0), ("encode - -o b.rfy <&-", 3), ("info lost.rfy 2>&-", 1)):
        done = subprocess.run(f"{rarefy} {command}", shell=True, capture_output=True, text=True, timeout=120)
        assert done.returncode == code
        assert "Traceback" not in done.stderr and "internal" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_with_one_sentence_and_leave_nothing(tmp_path: Path, number: signal.Signals) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"this run ignores {number.name}, as under nohup, and so do the processes that it starts")
    os.mkfifo(tmp_path / "cat.png")
    child = process("encode", tmp_path / "cat.png")
    with opened_by_both(tmp_path / "cat.png", child):  # the child is at work and waits for the picture
        child.send_signal(number)
        _, err = child.communicate(timeout=60)
    assert child.returncode == -number
    assert re.fullmatch(rb"rarefy: error: (interrupted|terminated)\n", err)
    assert {path.name for path in tmp_path.iterdir()} == {"cat.png"}


@pytest.mark.parametrize(
    "arguments", [["codecs"], ["info", "kept.rfy"], ["decode", "kept.rfy", "-o", "-"]], ids=" ".join
)
def test_a_closed_pipe_ends_with_one_sentence(small_file: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    child = process(*(str(small_file) if part == "kept.rfy" else part for part in arguments), stdout=writing)
    os.close(writing)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert err == b"rarefy: error: whoever read the output has closed it (broken pipe)\n"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_960, "1.0 MB"), (1 << 31, "2.1 GB")],
)
def test_sizes_read_well(size: int, text: str) -> None:
    assert readable_size(size) == text
