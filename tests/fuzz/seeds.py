"""What mutations start from: a few whole inputs of each kind, small, and the same wherever they are made.

Sound files alone are as the libraries make them: libsndfile draws the serial number of a stream in OGG.
"""

import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import sounds
from conformance.fixture import WEIGHTS
from conformance.sound_fixture import FOLDER as SOUNDS
from PIL import Image as pil

from fuzz import harnesses
from rarefy.codecs import container
from rarefy.codecs.container import File, Header, Unit
from rarefy.entropy import coder
from rarefy.entropy.tables import Tables

STREAMS = sorted(WEIGHTS.parent.glob("*.rfy"))
SOUND_STREAMS = sorted(SOUNDS.glob("*.rfy"))
LARGEST = 1200  # bytes of a file that is worth mutating


def files() -> list[bytes]:
    """Containers, some of which no codec could decode, and those of the conformance streams that are short."""
    plain = Header(codec="fixture", weights=bytes.fromhex("deadbeef"), width=5, height=3, channels=1, quality=12800)
    named = Header(codec="mine", weights=bytes(range(8)), width=300, height=20, quality=25600, tile=256)
    grid = Header(codec="image", weights=bytes(32), width=100, height=70, quality=77, tile=32)
    units = tuple(Unit({"latents": bytes([number]) * (number % 5)}, number << 20) for number in range(12))
    sound = Header(
        medium="sound",
        codec="walloc-audio",
        weights=bytes(4),
        sample_rate=8000,
        length=60_000,
        channels=3,
        sample_format="PCM_24",
        level=-8,
        quality=12800,
        span=1024,
    )
    made = (
        File(sound, units[:6], {"tags": b"\5title\1a"}),
        File(plain, (Unit({"latents": bytes(range(5))}, 123456789),)),
        File(named, (Unit({"latents": b"\1\2", "hint": b"\xaa"}, 1), Unit({"latents": b""}, 0)), {"xmp": b"<x/>"}),
        File(grid, units, {"icc": b"profile", "exif": b"II*\0", "xmp": bytes(30)}),
    )
    return [*map(container.write, made), *coded_files(), *coded_sounds()]


@cache
def coded_files() -> list[bytes]:
    """Conformance streams of pictures that are short."""
    return [data for path in STREAMS if len(data := path.read_bytes()) <= LARGEST]


@cache
def coded_sounds() -> list[bytes]:
    """Conformance streams of sounds that are short."""
    return [data for path in SOUND_STREAMS if len(data := path.read_bytes()) <= LARGEST]


def streams() -> list[bytes]:
    """Coded streams behind the three bytes that choose their tables and rows."""
    found = []
    for kind, count, seed, lanes in ((0, 3, 0, 1), (1, 40, 1, 2), (2, 60, 2, 1), (5, 200, 3, 4), (11, 255, 4, 32)):
        tables = harnesses._tables_of(kind)
        source = np.random.default_rng(seed)
        rows = source.integers(0, len(tables), count).astype(np.uint16)
        wide = np.rint(source.laplace(0, 3, count)).astype(np.int16)
        symbols = np.where(tables.is_coded[rows], wide, tables.offsets[rows]).astype(np.int16)
        found.append(bytes([kind, count, seed]) + coder.encode(symbols, rows, tables, lanes))
    return found


def tables() -> list[bytes]:
    """Small tables."""
    plain = Tables(12, np.array([-1, 7]), np.array([0, 5, 5]), np.array([0, 1024, 3072, 3584, 4096]))
    flat = Tables.from_pmfs([np.ones(5), np.ones(2)], [-32768, 32766], [0.1, 0.5], 15)
    return [harnesses.bytes_of(one) for one in (plain, flat)]


def weights() -> list[bytes]:
    """The weights of the codec of the tests."""
    return [WEIGHTS.read_bytes()]


def pictures() -> list[bytes]:
    """A tiny picture in many modes and formats."""
    picture = pil.fromarray(np.random.default_rng(1).integers(0, 256, (5, 7, 4), np.uint8), "RGBA")
    exif = pil.Exif()
    exif[0x0112] = 6
    found = []
    for mode, format, options in (
        ("RGB", "PNG", {"exif": exif}),
        ("L", "PNG", {}),
        ("RGBA", "PNG", {"icc_profile": b"profile"}),
        ("LA", "PNG", {}),
        ("P", "PNG", {}),
        ("1", "PNG", {}),
        ("RGB", "JPEG", {"exif": exif}),
        ("L", "JPEG", {"progressive": True}),
        ("CMYK", "JPEG", {}),
        ("RGB", "WEBP", {"exif": exif}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("P", "GIF", {}),
        ("RGB", "BMP", {}),
        ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    ):
        file = io.BytesIO()
        picture.convert(mode).save(file, format, **options)
        found.append(file.getvalue())
    return found


@cache
def recordings() -> list[bytes]:
    """A short sound in many kinds of files, by libsndfile and FFmpeg."""
    tones, tags = sounds.tones(2, 700, 8000), {"title": "a", "artist": "b"}
    found = [
        sounds.encoded(tones, format, subtype, 8000, tags if format in ("WAV", "FLAC", "OGG") else None)
        for format, subtype in (
            ("WAV", "PCM_16"),
            ("WAV", "PCM_U8"),
            ("WAV", "FLOAT"),
            ("WAV", "DOUBLE"),
            ("WAV", "IMA_ADPCM"),
            ("WAVEX", "PCM_24"),
            ("RF64", "PCM_16"),
            ("W64", "PCM_16"),
            ("AIFF", "PCM_16"),
            ("AU", "ULAW"),
            ("CAF", "ALAC_16"),
            ("FLAC", "PCM_16"),
            ("FLAC", "PCM_24"),
            ("OGG", "VORBIS"),
            ("OGG", "OPUS"),
            ("MP3", "MPEG_LAYER_III"),
        )
    ]
    by_av = (
        ("aac", "mp4", "stereo"),
        ("aac", "adts", "stereo"),
        ("flac", "ogg", "stereo"),
        ("libopus", "webm", "mono"),
    )
    for codec, kind, layout in by_av:
        samples = sounds.tones(1 if layout == "mono" else 2, 3000, 48_000)
        found.append(sounds.encoded_by_av(samples, codec, kind, layout, tags=tags))
    return found


def metadata() -> list[bytes]:
    """EXIF and XMP behind the size of the first."""
    exif = pil.Exif()
    exif[0x0112], exif[0x010F], exif[0x8769] = 8, "maker", {0x9003: "2026:01:01 00:00:00"}
    structure = exif.tobytes().removeprefix(b"Exif\0\0")
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="3"/></x:xmpmeta>'
    pairs = ((structure, b""), (b"", xmp), (b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0", xmp))
    return [len(exif).to_bytes(2, "little") + exif + xmp for exif, xmp in pairs]


def arguments() -> list[bytes]:
    """Command lines."""
    lines = (
        "encode a.png b.png -o out --quality 40 -f -r",
        "decode - -o - --threads 2",
        "info a.rfy --json",
        "verify small/ -v",
        "codecs",
        "bench images folder --codecs image@10,30",
        "--version",
    )
    return [line.replace(" ", "\0").encode() for line in lines]


def safetensors(header: dict[str, object], tensors: bytes) -> bytes:
    """Spell a safetensors file."""
    spelled = json.dumps(header).encode()
    return len(spelled).to_bytes(8, "little") + spelled + tensors


def corpus(name: str) -> list[bytes]:
    """Inputs that once went wrong, or that a fuzzer found worth keeping."""
    folder = Path(__file__).parent / "corpus" / name
    return [path.read_bytes() for path in sorted(folder.glob("*"))]
