"""Bytes of many files to latents, by the entropy coder alone: units of one shape and quality in one call."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rarefy.codecs import container
from rarefy.codecs.any_codec import AnyCodec
from rarefy.codecs.container import ALPHA, LATENTS, File
from rarefy.codecs.fields import varint
from rarefy.codecs.header import Header
from rarefy.codecs.layout import CHECKSUM_BYTES, read_head, u32
from rarefy.codecs.limits import Limits
from rarefy.codecs.registry import find_for_file
from rarefy.codecs.weights import load_any
from rarefy.data.layout import Layout, Shape, layout_of
from rarefy.errors import FormatError, OptionError, RarefyError, WeightsError

OUTPUTS = ("auto", "integers", "floats")


@dataclass
class _Group:
    """Units that one bottleneck decodes at once, and where each belongs: file and number."""

    bottleneck: Any
    units: list[tuple[dict[str, bytes], int]]
    owners: list[tuple[int, int]]


def has_integers(codec: AnyCodec) -> bool:
    """Tell whether a codec's latents are integers: its bottlenecks give them by `symbols`."""
    return all(hasattr(bottleneck, "symbols") for bottleneck in codec.bottlenecks().values())


def choose_output(codec: AnyCodec, output: str) -> str:
    """Return "integers" or "floats"; "auto" is integers where the codec has them. Raises OptionError."""
    if output not in OUTPUTS:
        raise OptionError(f"output {output!r}: {', '.join(OUTPUTS)}")
    if output == "integers" and not has_integers(codec):
        raise OptionError(f'codec "{codec.name}" has no integer latents: take output="floats"')
    return output if output != "auto" else "integers" if has_integers(codec) else "floats"


def codec_of(files: Sequence[File]) -> AnyCodec:
    """The codec that made files, which must be one; raises WeightsError for several, and what loading raises."""
    first = files[0].header
    for file in files:
        other = file.header
        if (other.codec, other.weights) != (first.codec, first.weights):
            raise WeightsError(
                f"files of {first.codec} {first.weights.hex()} and {other.codec} {other.weights.hex()} in one batch: "
                "latents of several weights mean different things and must not mix"
            )
    return load_any(find_for_file(first.codec).name, needed=first.weights)


def decode(datas: Sequence[bytes], output: str = "auto", limits: Limits | None = None) -> Tensor | list[Tensor]:
    """Decode `.rfy` files of one codec to latents.

    Gives int16 or float32 [B, C, h, w] of pictures, [B, C, n] of sounds, or a list of [C, h, w] or [C, n] where shapes
    differ. output: "integers", "floats", or "auto": integers where the codec has them. Raises OptionError for integers
    of several qualities, whose steps differ, and for sounds of more than two channels; and what `rarefy.decode` raises.
    """
    if not datas:
        raise OptionError("a batch has at least one file")
    files = read_files(datas, limits or Limits())
    codec = codec_of(files)
    output = choose_output(codec, output)
    if output == "integers" and len({file.header.quality for file in files}) > 1:
        raise OptionError('integers of several qualities have different steps: take output="floats"')
    return decode_files(files, codec, output, limits or Limits())


def decode_named(
    datas: Sequence[bytes], name_of: Callable[[int], str], codec: AnyCodec, output: str, limits: Limits
) -> Tensor | list[Tensor]:
    """As `decode`, by a codec that is loaded; an error begins with the name of the file that it is about.

    name_of: the name of a file by its place in the batch.
    """
    try:
        return decode_files(read_files(datas, limits), codec, output, limits)
    except RarefyError:
        for place, data in enumerate(datas):
            try:
                decode_files(read_files([data], limits), codec, output, limits)
            except RarefyError as error:
                raise type(error)(f"{name_of(place)}: {error}") from error
        raise


def read_files(datas: Sequence[bytes], limits: Limits) -> list[File]:
    """Read files and prove their checksums, as `container.read` does.

    Files of one unit whose first bytes are a header that was read before have that header: samples differ behind it.
    """
    files: list[File] = []
    known: list[_Known] = []
    for data in datas:
        file = next((file for one in known if (file := one.read(data)) is not None), None)
        if file is None:
            file = container.read(data, limits)
            head = read_head(memoryview(data), limits)
            if head.header.unit_count == 1 and not head.metadata and not head.is_sectioned:
                known.append(_Known(bytes(data[: head.stop]), file.header, head.checksum))
        files.append(file)
    return files


class _Known:
    """A header that was read before, of files of one unit without sections: what follows it has one form."""

    def __init__(self, spelled: bytes, header: Header, checksum: int) -> None:
        self._spelled, self._header = spelled, header
        self._checksum = zlib.crc32(u32(0), checksum)  # of the header and the unit's number

    def read(self, data: bytes) -> File | None:
        """The file, its checksum proved; None where it is another kind or anything is wrong, for others to say."""
        if not data.startswith(self._spelled):
            return None
        start = len(self._spelled)
        size = _spelled_size(len(data) - start - CHECKSUM_BYTES)
        payload = start + len(size) + CHECKSUM_BYTES
        stream = payload + CHECKSUM_BYTES
        if not size or stream > len(data) or data[start : start + len(size)] != size:
            return None
        found = zlib.crc32(memoryview(data)[payload:], zlib.crc32(size, self._checksum))
        if int.from_bytes(data[payload - CHECKSUM_BYTES : payload], "little") != found:
            return None
        symbols = int.from_bytes(data[payload:stream], "little")
        return File(self._header, (container.Unit({LATENTS: data[stream:]}, symbols),))


def _spelled_size(rest: int) -> bytes:
    """The size of a payload that fills `rest` bytes together with its own spelling; nothing where none does."""
    for length in range(1, 6):
        if rest >= length and len(size := varint(rest - length)) == length:
            return size
    return b""


def decode_files(files: Sequence[File], codec: AnyCodec, output: str, limits: Limits) -> Tensor | list[Tensor]:
    """As `decode`, of files that were read."""
    layouts = _layouts(files, codec, limits)
    groups = _grouped(files, layouts, codec)
    decoded = {key: _call(group, key, output) for key, group in groups.items()}
    if len(groups) == 1 and all(file.header.unit_count == 1 for file in files):
        return next(iter(decoded.values()))
    parts: list[dict[int, Tensor]] = [{} for _ in files]
    for key, group in groups.items():
        for (i, number), part in zip(group.owners, decoded[key], strict=True):
            parts[i][number] = part
    joined = [_joined(layout, part) for layout, part in zip(layouts, parts, strict=True)]
    return torch.stack(joined) if len({latents.shape for latents in joined}) == 1 else joined


def _layouts(files: Sequence[File], codec: AnyCodec, limits: Limits) -> list[Layout]:
    known: dict[int, Layout] = {}  # by header: files of one batch share few
    for file in files:
        if id(file.header) not in known:
            known[id(file.header)] = layout_of(codec, file.header, limits)
    return [known[id(file.header)] for file in files]


_Key = tuple[int, Shape, int]  # which bottleneck, shape and quality


def _grouped(files: Sequence[File], layouts: Sequence[Layout], codec: AnyCodec) -> dict[_Key, _Group]:
    groups: dict[_Key, _Group] = {}
    for i, (file, layout) in enumerate(zip(files, layouts, strict=True)):
        for number, (unit, shape) in enumerate(zip(file.units, layout.shapes, strict=True)):
            key = id(layout.bottleneck), shape, file.header.quality
            group = groups.setdefault(key, _Group(layout.bottleneck, [], []))
            group.units.append(({LATENTS: _section(unit, codec)}, unit.checksum))
            group.owners.append((i, number))
    return groups


def _section(unit: container.Unit, codec: AnyCodec) -> bytes:
    if LATENTS not in unit.sections or not unit.sections.keys() <= {LATENTS, ALPHA}:
        names = ", ".join(sorted(unit.sections)) or "none"
        raise FormatError(f'a unit has the sections {names}; codec "{codec.name}" reads "{LATENTS}"')
    return unit.sections[LATENTS]


def _call(group: _Group, key: _Key, output: str) -> Tensor:
    _, shape, quality = key
    if output == "integers":
        return group.bottleneck.symbols(group.units, shape, quality)
    with torch.inference_mode():
        latents: Tensor = group.bottleneck.decompress(group.units, shape, quality)
    return latents.clone()  # outside inference mode, so that autograd takes it


def _joined(layout: Layout, parts: dict[int, Tensor]) -> Tensor:
    """The latents of a file, from those of its units."""
    if len(parts) == 1:
        return parts[0]
    latents = parts[0].new_empty(parts[0].shape[0], *layout.shape)
    for number, part in parts.items():
        latents[(slice(None), *layout.boxes[number])] = part
    return latents
