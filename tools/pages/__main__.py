"""`python -m rarefy.tools.pages`: write every page into the checkout that this runs from; `--check` only compares."""

import argparse
import sys
from pathlib import Path

from rarefy.tools.pages.checkout import ROOT, stale


def main() -> int:
    """Write or compare; return 1 where `--check` found a difference."""
    parser = argparse.ArgumentParser(prog="python -m rarefy.tools.pages", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is not current")
    options = parser.parse_args()
    changed = stale()
    for name, page in sorted(changed.items()):
        print(f"{name}: {'is not current' if options.check else 'removed' if page is None else 'written'}")
        if not options.check:
            _write(ROOT / name, page)
    return 1 if options.check and changed else 0


def _write(path: Path, page: str | None) -> None:
    if page is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
