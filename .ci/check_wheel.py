"""Install the one wheel of a folder in an empty environment with the core dependencies alone, and use it there.

Usage: check_wheel.py WHEEL_FOLDER CONSTRAINTS. Checks what the wheel carries, then runs the installed command.
"""

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

PICTURE = """
import sys
from PIL import Image
Image.radial_gradient("L").resize((96, 64)).convert("RGB").save(sys.argv[1])
"""


def check_contents(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for_gpus = {"rarefy/kernels/rans.h", "rarefy/kernels/cuda/coder.cuh"}  # compiled on the user's machine
    strays = [
        name
        for name in names
        if name.startswith(("rarefy/tests/", "tests/"))
        or (name.endswith((".cpp", ".h", ".cmake")) and name not in for_gpus)
    ]
    if strays:
        raise SystemExit(f"{wheel.name} carries what it should not: {', '.join(strays)}")
    missing = {"rarefy/__init__.py", "rarefy/py.typed", "rarefy/tools/cli.py", *for_gpus} - set(names)
    shipped = {
        f"rarefy/weights/{path.name}" for path in Path("weights").iterdir() if path.suffix in (".toml", ".safetensors")
    }
    missing |= shipped - set(names)
    if missing:
        raise SystemExit(f"{wheel.name} lacks {', '.join(sorted(missing))}")


def check_use(wheel: Path, constraints: Path, folder: Path) -> None:
    venv.create(folder / "venv", with_pip=True)
    python, command = folder / "venv/bin/python", folder / "venv/bin/rarefy"

    def run(*arguments: str | Path) -> None:
        print("+", *arguments, flush=True)
        subprocess.run(arguments, check=True, cwd=folder)

    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "-c", constraints.resolve(), wheel.resolve())
    run(command, "--version")
    run(python, "-c", PICTURE, "picture.png")
    run(command, "encode", "picture.png", "--verify")
    run(command, "info", "picture.rfy")
    run(command, "decode", "picture.rfy", "-o", "decoded.png")
    run(command, "verify", "picture.rfy")


def main() -> None:
    wheels = list(Path(sys.argv[1]).glob("*.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"{sys.argv[1]} should hold one wheel, not {len(wheels)}")
    check_contents(wheels[0])
    with tempfile.TemporaryDirectory() as folder:
        check_use(wheels[0], Path(sys.argv[2]), Path(folder))
    print(f"{wheels[0].name}: works, {wheels[0].stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
