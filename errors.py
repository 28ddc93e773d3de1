"""What can go wrong, as exceptions. Everything that rarefy raises on purpose is a `RarefyError`."""


class RarefyError(Exception):
    """The base of every error that rarefy raises on purpose."""


class FormatError(RarefyError):
    """The bytes are no rarefy file, or break a rule of the format."""


class TruncatedError(FormatError):
    """The bytes end before the file does."""


class ChecksumError(FormatError):
    """A checksum does not fit: the file was altered, or was decoded wrongly."""


class LimitError(RarefyError):
    """A file asks for more than `Limits` allows, or a medium has more than any file may."""


class UnsupportedError(RarefyError):
    """The file is whole, but needs a codec, version or feature that is not here."""


class WeightsError(RarefyError):
    """Weights are missing, damaged, or not those that a file was made with."""


class MediaError(RarefyError):
    """The picture (or sound, video …) to encode cannot be read or is of a kind that the codec does not take."""


class OptionError(RarefyError, ValueError):
    """An option is out of its range, or unknown."""


class RarefyWarning(UserWarning):
    """Something of a picture or a sound is left out or changed: `notes` of the `Image` or `Audio` say it too."""
