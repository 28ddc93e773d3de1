"""Codecs: the contract, one file per codec, the registry, the file format and the media.

Nothing is imported here, so that `rarefy.codecs.container` and `rarefy.codecs.media` load without torch.
"""
