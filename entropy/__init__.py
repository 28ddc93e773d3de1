"""Entropy coding: integer tables, the rANS coder and its Python twin, and the bottlenecks that use them.

Nothing is imported here, so that `rarefy.entropy.coder` loads without torch.
"""
