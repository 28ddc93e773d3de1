"""The instrument behind `rarefy bench images`, for media of any kind.

A candidate makes a file and reads it back, a metric takes two media, a result holds what was measured, a report shows
it. Nothing here knows pictures: `rarefy.tools.bench_images` joins these parts for them. docs/BENCHMARKS.md describes
results.
"""
