"""`.rfy` files in imageio: import this module once, then `imageio.v3.imread`, `imwrite` and the others know them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from imageio.config import FileExtension, PluginConfig, extension_list, known_extensions, known_plugins
from imageio.core.request import URI_BYTES, InitializationError, Request
from imageio.core.v3_plugin_api import ImageProperties, PluginV3
from numpy.typing import NDArray

from rarefy.codecs.container import SIGNATURE, read, read_info
from rarefy.codecs.info import Info
from rarefy.errors import MediaError

NAME = "rarefy"
NO_PICTURE = "the file holds a sound: imageio reads pictures"
Pixels = NDArray[np.uint8]


class RarefyPlugin(PluginV3):
    """One picture per file: uint8 [H, W] (gray), [H, W, 3], and [H, W, 2 or 4] with alpha."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        if request.mode.io_mode.value == "r":
            self._check_signature(request)
        elif request.extension != ".rfy" and request.format_hint != ".rfy":
            raise InitializationError(f'{NAME} writes .rfy files, not "{request.extension}"')

    def read(self, *, index: Any = 0, **options: Any) -> Pixels:
        """Decode the picture; index: 0 or None, or ... for [1, H, W, C]. options: of `rarefy.decode`.

        Raises ValueError for another index, and what `rarefy.decode` raises.
        """
        import rarefy

        _check_index(index)
        image = rarefy.decode(self._data(), **options)
        if not isinstance(image, rarefy.Image):
            raise MediaError(NO_PICTURE)
        pixels = np.array(image)
        pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        return pixels[np.newaxis] if index is ... else pixels

    def iter(self, **options: Any) -> Iterator[Pixels]:
        """Yield the picture."""
        yield self.read(**options)

    def write(self, ndimage: Any, **options: Any) -> bytes | None:
        """Encode a picture uint8 [H, W] or [H, W, C]; options: of `rarefy.encode`.

        Raises MediaError for anything else, several pictures included. Gives the bytes where the target is "<bytes>".
        """
        import rarefy

        if isinstance(ndimage, list):
            raise MediaError("a .rfy file holds one picture: write each to a file of its own")
        data = rarefy.encode(np.asarray(ndimage), **options)
        self._request.get_file().write(data)
        return data if self._request._uri_type == URI_BYTES else None

    def properties(self, index: Any = 0) -> ImageProperties:
        """Shape and type of what `read` gives, from the header alone."""
        _check_index(index)
        info = self._info()
        channels = info.channels + info.header.has_alpha
        shape = (info.size[1], info.size[0], *([channels] if channels > 1 else []))
        return ImageProperties(
            shape=(1, *shape) if index is ... else shape,
            dtype=np.dtype(np.uint8),
            n_images=1 if index is ... else None,
            is_batch=index is ...,
        )

    def metadata(self, index: Any = 0, exclude_applied: bool = True) -> dict[str, Any]:
        """Codec, quality, and icc_profile, exif (a TIFF structure) and xmp as bytes where the file has them."""
        _check_index(index)
        info = self._info()
        kept = dict(read(self._data()).metadata)
        if "icc" in kept:
            kept["icc_profile"] = kept.pop("icc")
        return {"codec": info.codec, "quality": info.quality, **kept}

    def _check_signature(self, request: Request) -> None:
        if request.get_file().read(len(SIGNATURE)) != SIGNATURE:
            raise InitializationError("this is no rarefy file: it does not begin with the signature of one")

    def _data(self) -> bytes:
        file = self._request.get_file()
        file.seek(0)
        return bytes(file.read())

    def _info(self) -> Info:
        info = read_info(self._data())
        if info.medium != "image":
            raise MediaError(NO_PICTURE)
        return info


def register() -> None:
    """Tell imageio of the format; importing this module has done it."""
    known_plugins[NAME] = PluginConfig(name=NAME, class_name=RarefyPlugin.__name__, module_name=__name__)
    if ".rfy" not in known_extensions:
        extension = FileExtension(name="rarefy picture", extension=".rfy", priority=[NAME])
        extension_list.append(extension)
        known_extensions[".rfy"] = [extension]


def _check_index(index: Any) -> None:
    if index not in (0, None, ...):
        raise ValueError(f"index {index}: a .rfy file holds one picture")


register()
