"""Every page by its place in a checkout of the source, and those that are not current there."""

from pathlib import Path

from rarefy.errors import OptionError
from rarefy.tools.pages.bash import bash_completion
from rarefy.tools.pages.commands import read_commands
from rarefy.tools.pages.fish import fish_completion
from rarefy.tools.pages.man import man_page
from rarefy.tools.pages.media_type import magic, mime_package
from rarefy.tools.pages.reference import reference_pages
from rarefy.tools.pages.zsh import zsh_completion

ROOT = Path(__file__).resolve().parents[2]
SHARE = "tools/share"
FOLDERS = (SHARE, "docs/api")  # hold nothing but pages


def pages(root: Path = ROOT) -> dict[str, str]:
    """Return every page by its path below `root`, a checkout of the source.

    Raises OptionError where there is no checkout, as in an installed package.
    """
    if not (root / "pyproject.toml").is_file():
        raise OptionError(f"{root} is no checkout of rarefy's source: pages are written into one")
    commands = read_commands()
    share = {
        "man/man1/rarefy.1": man_page(commands),
        "bash-completion/completions/rarefy": bash_completion(commands),
        "zsh/site-functions/_rarefy": zsh_completion(commands),
        "fish/vendor_completions.d/rarefy.fish": fish_completion(commands),
        "mime/packages/rarefy.xml": mime_package(),
        "rarefy/rarefy.magic": magic(),
    }
    reference = {f"docs/api/{name}": page for name, page in reference_pages(root).items()}
    return {f"{SHARE}/{name}": page for name, page in share.items()} | reference


def stale(root: Path = ROOT) -> dict[str, str | None]:
    """Return the pages that differ from what is in the checkout; None for files there that nothing writes any more."""
    wanted = pages(root)
    there = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for folder in FOLDERS
        for path in (root / folder).rglob("*")
        if path.is_file()
    }
    changed = {name: page for name, page in wanted.items() if there.get(name) != page}
    return changed | dict.fromkeys(there.keys() - wanted.keys())
