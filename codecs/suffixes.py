"""How the names of files end that folders are searched for; a file that is named is taken whatever its suffix."""

from rarefy.codecs.picture_kinds import SUFFIXES

PICTURES = frozenset(SUFFIXES) | {".gif", ".ico", ".pbm", ".pnm", ".jfif"}
SOUNDS = frozenset(
    {".aac", ".aif", ".aiff", ".au", ".caf", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".wave", ".w64"}
)
