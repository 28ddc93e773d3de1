"""Results on disk: read, checked, joined, and the scales of their metrics. Older results have PSNR alone."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rarefy.errors import FormatError, OptionError
from rarefy.tools.harness.parts import SCALES
from rarefy.tools.harness.summary import bd_rates, complete_items, curves

Result = dict[str, Any]
OLDER_METRICS = {"psnr_db": {"label": "PSNR", "describe": "of RGB, dB", "scale": "linear", "digits": 2}}


def read_result(path: Path) -> Result:
    """Read a result of `rarefy bench images`; raises FormatError for anything else."""
    try:
        result = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: is no JSON ({error})") from error
    if not isinstance(result, dict) or not isinstance(result.get("rows"), list) or not result["rows"]:
        raise FormatError(f"{path}: is no result of rarefy bench images, which has rows")
    lacking = {"codec", "setting", "picture", "bits_per_pixel"} - set(result["rows"][0])
    if lacking:
        raise FormatError(f'{path}: its rows have no "{sorted(lacking)[0]}"')
    return {"anchors": [], "metrics": OLDER_METRICS, "failures": [], "first_run": {}, **result}


def axes_of(result: Mapping[str, Any]) -> dict[str, Callable[[float], float]]:
    """Return metric -> scale on which its rates are compared."""
    return {key: SCALES[facts["scale"]] for key, facts in result["metrics"].items()}


def summarised(result: Result) -> Result:
    """Return a result whose curves and rate differences follow from its rows."""
    axes = axes_of(result)
    means = curves(result["rows"], list(axes))
    differences = bd_rates(means, [anchor for anchor in result["anchors"] if anchor in means], axes)
    return {
        **result,
        "pictures": len(complete_items(result["rows"])),
        "curves": means,
        "bd_rate": differences["psnr_db"]["pchip"] if "psnr_db" in differences else {},
        "bd_rates": differences,
    }


def of_codec(result: Result, codec: str) -> Result:
    """Return the part of a result that is about one codec, to keep in a file of its own and join later."""
    part = {name: value for name, value in result.items() if name not in ("bd_rate", "bd_rates")}
    for name in ("codecs", "weights", "curves", "first_run"):
        part[name] = {key: value for key, value in result[name].items() if key == codec}
    part["anchors"] = [anchor for anchor in result["anchors"] if anchor == codec]
    part["rows"] = [row for row in result["rows"] if row["codec"] == codec]
    return part


def joined(results: Sequence[Result]) -> Result:
    """Join results of different codecs on the same pictures into one; circumstances are those of the first.

    Raises:
        OptionError: a codec is in two of them, or a name stands for different pictures.
    """
    rows: list[dict[str, Any]] = []
    known: dict[str, str] = {}
    for result in results:
        twice = {row["codec"] for row in rows} & {row["codec"] for row in result["rows"]}
        if twice:
            raise OptionError(f'codec "{sorted(twice)[0]}" is in two of the results')
        for row in result["rows"]:
            if known.setdefault(row["picture"], row.get("digest", "")) != row.get("digest", ""):
                raise OptionError(f'"{row["picture"]}" is not the same picture in all results')
        rows += result["rows"]
    metrics = {key: facts for key, facts in results[0]["metrics"].items() if all(key in r["metrics"] for r in results)}
    whole = {**results[0], "metrics": metrics, "rows": rows}
    for name in ("libraries", "codecs", "weights", "first_run"):
        whole[name] = {key: value for result in results for key, value in result.get(name, {}).items()}
    for name in ("anchors", "failures"):
        whole[name] = [value for result in results for value in result[name]]
    return summarised(whole)


def file_name(codec: str) -> str:
    """Return the name of a codec as a part of file names on any system: `compressai:x` becomes `compressai-x`."""
    return "".join(character if character.isalnum() or character in "-_.+" else "-" for character in codec)
