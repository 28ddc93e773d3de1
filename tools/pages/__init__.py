"""The pages that are written by programs: man page, shell completions, file type, reference of the library.

`python -m rarefy.tools.pages` (`make pages`) writes them into a checkout. They are checked in, and a test tells when
they are no longer what the program would write. Installed, they lie below `share/` of the environment.
"""
