"""`.rfy` files in Pillow: import this module once, then `Image.open` and `Image.save` know them.

Opening reads the header and the metadata, without torch and weights; pixels are decoded when they are asked for.
Pillow's own kinds of exceptions are raised, with rarefy's sentences.
"""

from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from PIL import Image, ImageFile, UnidentifiedImageError

from rarefy.codecs.container import SIGNATURE, read
from rarefy.codecs.info import FileBytes
from rarefy.codecs.layout import read_head
from rarefy.codecs.limits import Limits
from rarefy.codecs.media import Image as Picture
from rarefy.codecs.media import as_image
from rarefy.errors import LimitError, OptionError, RarefyError

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

FORMAT = "RAREFY"
MIME = "application/vnd.rarefy"
# What `save` hands on to `rarefy.encode`.
_OPTIONS = ("codec", "quality", "target_size", "target_bpp", "target_psnr", "effort", "threads", "device", "precision")
_REDUCTIONS = (8, 4, 2)  # of `rarefy.open(...).preview`
_INFO_NAMES = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}


class RarefyImageFile(ImageFile.ImageFile):
    """A `.rfy` file as a Pillow image of the mode RGB, L, RGBA or LA; `info` has icc_profile, exif and xmp.

    Raises UnidentifiedImageError (an OSError) for damaged files, DecompressionBombError for those above `Limits`.
    """

    format = FORMAT
    format_description = "rarefy picture"

    def _open(self) -> None:
        file = self._file()
        if not _accept(file.read(len(SIGNATURE))):
            raise SyntaxError("this is no rarefy file: it does not begin with the signature of one")
        file.seek(0)
        try:
            self._read_head(FileBytes(file))
        except LimitError as error:
            raise Image.DecompressionBombError(str(error)) from error
        except RarefyError as error:
            raise UnidentifiedImageError(f"{self._name()}: {error}") from error

    def _read_head(self, data: FileBytes) -> None:
        head = read_head(data, Limits())
        self._size = self._full_size = head.header.width, head.header.height
        self._mode = ("L" if head.header.channels == 1 else "RGB") + ("A" if head.header.has_alpha else "")
        self._reduction = 1
        self.tile = [ImageFile._Tile("rarefy", (0, 0, *self._size), 0, self._mode)]
        for span in head.metadata:
            value = data[span.start : span.stop]
            self.info[_INFO_NAMES[span.name]] = b"Exif\0\0" + value if span.name == "exif" else value

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Let `load` decode at 1/2, 1/4 or 1/8 of the size where that is not below `size`, as `thumbnail` asks."""
        if not self.tile or size is None:
            return None
        width, height = self._full_size
        ratio = min(width // max(size[0], 1), height // max(size[1], 1))
        n = self._reduction = next((n for n in _REDUCTIONS if n <= ratio), 1)
        self._size = -(-width // n), -(-height // n)
        return self.mode, (0, 0, width / n, height / n)

    def load(self) -> "PixelAccess | None":
        """Decode the pixels, the first time; raises OSError where that cannot be done.

        With `ImageFile.LOAD_TRUNCATED_IMAGES` what is lost of a damaged file is gray.
        """
        if self.tile:
            picture = self._decode().to_pil()
            self.im, self._mode, self._size, self.tile = picture.im, picture.mode, picture.size, []
            if self._exclusive_fp:
                self._file().close()
            self.fp = None
        return super().load()

    def load_seek(self, pos: int) -> None:
        """Do nothing: that this method is there tells Pillow to use `load` alone."""

    def verify(self) -> None:
        """Prove the checksums of the file, without decoding it; raises OSError. As always, open it anew afterwards."""
        file = self._file()
        file.seek(0)
        try:
            read(file.read())
        except RarefyError as error:
            raise OSError(f"{self._name()}: {error}") from error
        finally:
            super().verify()

    def _decode(self) -> Picture:
        import rarefy

        file = self._file()
        file.seek(0)
        try:
            if self._reduction > 1:
                return rarefy.open(file.read()).preview(self._reduction)
            return rarefy.decode(file.read(), allow_damaged=ImageFile.LOAD_TRUNCATED_IMAGES)
        except RarefyError as error:
            raise OSError(f"{self._name()}: {error}") from error

    def _file(self) -> BinaryIO:
        if self.fp is None:
            raise OSError(f"{self._name()}: the file is closed")
        return cast(BinaryIO, self.fp)

    def _name(self) -> str:
        name = self.filename
        return (name.decode(errors="replace") if isinstance(name, bytes) else name) or "the picture"


def register() -> None:
    """Tell Pillow of the format; importing this module has done it."""
    Image.register_open(FORMAT, RarefyImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, ".rfy")
    Image.register_mime(FORMAT, MIME)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(SIGNATURE)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Write a picture; keywords of `Image.save`: quality 0..100, codec, threads, device, icc_profile, exif, xmp.

    As with Pillow's own formats, the colour profile is kept by default, EXIF and XMP are written when they are given.
    """
    import rarefy

    given = image.encoderinfo
    options = {name: given[name] for name in _OPTIONS if name in given}
    try:
        data = rarefy.encode(_picture(image, given), **options)
    except OptionError:  # a ValueError, as Pillow raises for wrong options
        raise
    except RarefyError as error:
        raise OSError(f"cannot write mode {image.mode} as {FORMAT}: {error}") from error
    file.write(data)


def _picture(image: Image.Image, given: dict[str, Any]) -> Picture:
    """Take the pixels as they are in memory, with the metadata that is to be written and no other."""
    copy = image.copy()
    copy.info = {name: value for name, value in image.info.items() if name == "transparency"}
    exif = given.get("exif")
    kept = {
        "icc_profile": given.get("icc_profile", image.info.get("icc_profile")),
        "exif": exif.tobytes() if isinstance(exif, Image.Exif) else exif,
        "xmp": given.get("xmp"),
    }
    copy.info.update({name: value for name, value in kept.items() if value})
    return as_image(copy)


register()
