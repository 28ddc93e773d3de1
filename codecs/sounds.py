"""Sounds for `rarefy.codecs.api`: what is taken for one, and the way through a codec of sound, there and back."""

import os
from typing import Any

import numpy as np

from rarefy.codecs.audio import Audio, AudioReader, open_audio
from rarefy.codecs.audio_kinds import HEAD_BYTES, begins_like_sound
from rarefy.codecs.container import File, Header
from rarefy.codecs.limits import FileLimits, Limits
from rarefy.codecs.parallel import whole_number
from rarefy.codecs.registry import find_for_file
from rarefy.codecs.salvage import DamagedFile
from rarefy.codecs.sound import SoundCodec
from rarefy.codecs.sound_decoding import SoundDecoder, as_audio
from rarefy.codecs.targets import Target, encode_sound_to
from rarefy.codecs.weights import load_any
from rarefy.errors import FormatError, MediaError, OptionError


def is_sound(source: Any) -> bool:
    """Tell whether a source is a sound: an `Audio`, or a file that begins like one."""
    if isinstance(source, Audio | AudioReader):
        return True
    if isinstance(source, bytes | bytearray | memoryview):
        return begins_like_sound(bytes(source[:HEAD_BYTES]))
    try:
        if isinstance(source, str | os.PathLike):
            if not os.path.isfile(source):  # a pipe is read once
                return False
            with open(source, "rb") as file:
                return begins_like_sound(file.read(HEAD_BYTES))
        if hasattr(source, "read") and source.seekable() and source.tell() == 0:
            head = source.read(HEAD_BYTES)
            source.seek(0)
            return isinstance(head, bytes) and begins_like_sound(head)
    except (OSError, ValueError):
        pass  # whoever reads it for good says what is wrong
    return False


def encode_sound(
    source: Any,
    codec: SoundCodec,
    quality: float,
    target: Target | None,
    precision: str,
    sample_rate: int | None = None,
    effort: int = 0,
) -> bytes:
    """A sound to the bytes of a file; source: what `rarefy.encode` takes."""
    is_array = hasattr(source, "__array__") or hasattr(source, "detach")
    if sample_rate is not None and not is_array:
        raise OptionError("sample_rate is for arrays: whatever else is a sound has a rate of its own")
    if isinstance(source, Audio | AudioReader):
        return _encode(source, codec, quality, target, precision, effort)
    if hasattr(source, "read") or not is_array:
        with open_audio(source, FileLimits()) as reader:
            return _encode(reader, codec, quality, target, precision, effort)
    return _encode(_from_array(source, sample_rate), codec, quality, target, precision, effort)


def _encode(
    sound: Audio | AudioReader, codec: SoundCodec, quality: float, target: Target | None, precision: str, effort: int
) -> bytes:
    if target is not None:
        return encode_sound_to(codec, sound, target, precision, effort)
    return codec.encode(sound, quality, precision, effort)


def _from_array(source: Any, sample_rate: float | None) -> Audio:
    samples = np.asarray(source.detach().cpu().float() if hasattr(source, "detach") else source)
    if samples.dtype.kind != "f" or samples.ndim not in (1, 2):
        raise MediaError(
            f"sounds are float arrays [channels, n] or [n] in -1..1, not {samples.dtype} {list(samples.shape)}"
        )
    if sample_rate is None:
        raise OptionError("an array of samples needs its sample_rate, in Hz")
    is_whole = isinstance(sample_rate, float) and sample_rate.is_integer()  # some libraries give 44100.0
    rate = whole_number(int(sample_rate) if is_whole else sample_rate, "sample_rate")
    return Audio(np.ascontiguousarray(np.atleast_2d(samples), dtype=np.float32), rate)


def codec_of(header: Header, device: str) -> SoundCodec:
    """The codec that a file of sound names, with its weights."""
    codec = load_any(find_for_file(header.codec).name, device, header.weights)
    if not isinstance(codec, SoundCodec):
        raise FormatError(f'the file claims to hold a sound of codec "{header.codec}", which is for {codec.medium}')
    return codec


def decode_sound(file: File, limits: Limits | None, device: str, precision: str) -> Audio:
    """A file that was read to a sound."""
    return codec_of(file.header, device).decode(file, limits, precision)


def decode_damaged_sound(damaged: DamagedFile, limits: Limits | None, device: str, precision: str) -> Audio:
    """What is whole of a damaged file; the rest is silent, and `notes` say what is lost and why."""
    codec = codec_of(damaged.header, device)
    decoder = SoundDecoder(codec, damaged.header, damaged.units, limits, precision, is_lenient=True)
    samples = decoder.samples()
    count = damaged.header.unit_count
    later = [reason for number, reason in sorted(decoder.lost.items()) if number in damaged.units]
    reasons = (*damaged.reasons.values(), *later)
    if len(decoder.lost) == count:
        raise FormatError("; ".join(["nothing of the sound is whole", *reasons]))
    lost = f"{len(decoder.lost)} of {count} units are lost and silent, beside them the sound is less exact"
    return as_audio(samples, damaged.header, damaged.metadata, (lost, *reasons) if decoder.lost else ())
