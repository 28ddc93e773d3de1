"""The entropy coder for NVIDIA GPUs: kernel sources, compiled at run time, and what launches them.

The sources include `kernels/rans.h`, the arithmetic of the compiled coder. `rarefy.entropy.cuda` is how they are used.
"""
