"""Sound files read by libsndfile (package soundfile)."""

from typing import Any, BinaryIO

from rarefy.codecs.audio_file import RecordedFile
from rarefy.codecs.audio_kinds import has_end
from rarefy.codecs.audio_source import Samples, SoundFacts, UnreadableError, without_loss
from rarefy.codecs.audio_tags import tags_of
from rarefy.codecs.limits import Limits
from rarefy.errors import MediaError

KINDS = ("WAV", "AIFF", "FLAC", "OGG", "MP3", "AU", "CAF", "W64")
_UNKNOWN_LENGTH = 1 << 62  # libsndfile has 2^63 - 1 where a header says none
_OPUS_HEAD = 47  # bytes of the first page (28) and of the head up to the mapping family (19), RFC 7845 section 5.1
_NO_END = "the file has no whole last page: it may have been cut short"

# Channels of Vorbis and Opus in the order of WAV and FLAC, by their number (Vorbis I, section 4.3.9; RFC 7845, 5.1.1.2)
_FROM_VORBIS = {3: (0, 2, 1), 5: (0, 2, 1, 3, 4), 6: (0, 2, 1, 5, 3, 4), 7: (0, 2, 1, 6, 5, 3, 4)}
_FROM_VORBIS[8] = (0, 2, 1, 7, 5, 6, 3, 4)


class SoundfileSource:
    """Samples of a file, read forward; where the coding is exact about positions, from anywhere.

    Raises UnreadableError where libsndfile does not read the file, MediaError where the file ends too early, LimitError
    above the limits.
    """

    def __init__(self, file: BinaryIO, kind: str, name: str, limits: Limits) -> None:
        self._file, self._name = RecordedFile(file), name
        notes = (_NO_END,) if kind == "OGG" and not has_end(file) else ()
        self._open()
        try:
            self.facts = self._facts(kind, notes)
            limits.check_sound(self.facts.sample_rate, self.facts.channels, self.facts.length)
            has_other_order = _has_order_of_vorbis(file, self.facts.subtype)
            self._order = _FROM_VORBIS.get(self.facts.channels) if has_other_order else None
            if kind == "FLAC" and self.facts.length > 0:  # a cheap proof that the end is there
                self.read(self.facts.length - 1, 1)
        except BaseException:
            self.close()
            raise

    def read(self, position: int, count: int) -> Samples:
        """Give the samples [count, channels] from a position on; raises MediaError where they are not there."""
        import soundfile

        try:
            self._go_to(position)
            block = self._sound.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            self._file.check()
            raise MediaError(f"{self._name} is damaged or incomplete ({error})") from error
        self._file.check()
        self._position += len(block)
        if len(block) < count:
            raise MediaError(
                f"{self._name} is incomplete: it ends after {self._position} of {self.facts.length} samples"
            )
        return block if self._order is None else block[:, self._order]

    def close(self) -> None:
        """Give back what the reader holds; the file stays open."""
        self._sound.close()

    def _facts(self, kind: str, notes: tuple[str, ...]) -> SoundFacts:
        sound = self._sound
        if sound.frames >= _UNKNOWN_LENGTH:
            raise UnreadableError("its header states no length")
        tags, tag_notes = tags_of(sound.copy_metadata())
        rate, channels = sound.samplerate, sound.channels
        return SoundFacts(kind, sound.subtype, rate, channels, sound.frames, tags, (*notes, *tag_notes))

    def _open(self) -> None:
        import soundfile

        self._file.seek(0)
        try:
            self._sound: Any = soundfile.SoundFile(self._file)
        except (soundfile.LibsndfileError, TypeError) as error:
            self._file.check()
            raise UnreadableError(str(getattr(error, "error_string", error))) from error
        # Or soundfile seeks to where it is after each read, which changes samples near the end of Opus
        self._sound.seekable = lambda: False
        # Samples of AU begin elsewhere after opening than after going back, where the header has a wrong offset
        self._position = -1 if without_loss(self._sound.subtype) else 0

    def _go_to(self, position: int) -> None:
        """Stand at a position. libsndfile (1.2.2) lands elsewhere in Vorbis, so lossy codings are read through."""
        if position == self._position:
            return
        if without_loss(self.facts.subtype):
            self._sound.seek(position)
            self._position = position
            return
        if position < self._position:
            self._sound.close()
            self._open()
        while self._position < position:
            skipped = self._sound.read(min(position - self._position, 1 << 16), dtype="float32", always_2d=True)
            if not len(skipped):
                return
            self._position += len(skipped)


def _has_order_of_vorbis(file: BinaryIO, subtype: str) -> bool:
    """Tell it by the coding, and for Opus by the mapping family: family 1 is Vorbis' order."""
    if subtype != "OPUS":
        return subtype == "VORBIS"
    position = file.tell()
    file.seek(0)
    head = file.read(_OPUS_HEAD)
    file.seek(position)
    return head[28:36] == b"OpusHead" and head[-1] == 1
