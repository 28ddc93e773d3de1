"""rarefy inside other libraries: one module each, which may be imported where its library is installed.

Nothing is imported here.
"""
