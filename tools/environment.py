"""What a measurement depends on, for the head of every result: command, versions, commit, machine."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "numpy", "pillow", "scipy")


def describe(command: Sequence[str], threads: int) -> dict[str, object]:
    """Return what belongs beside a result: command, time, versions, commit and machine."""
    from rarefy import __version__, kernels

    return {
        "command": " ".join(command),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"rarefy": __version__, "python": platform.python_version(), **_versions()},
        "commit": commit(),
        "entropy_coder": "compiled" if kernels.available() else "python",
        "instruction_set": kernels.instruction_set(),
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "threads": threads,
            "system": f"{platform.system()} {platform.machine()}",
        },
    }


def commit() -> str | None:
    """Return the commit that this package runs from, `+changes` where files differ; None outside its repository."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        name = _git(root, "rev-parse", "--short=12", "HEAD")
        return name + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):  # no git, or not allowed to read it: the result goes without
        return None


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(("git", "-C", root, *arguments), capture_output=True, text=True, check=True).stdout.strip()


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or "unknown"
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"


def python_command() -> list[str]:
    """Return the command of this interpreter that starts rarefy in a process of its own."""
    return [sys.executable, "-P", "-m", "rarefy"]  # -P: nothing is imported from the current folder
