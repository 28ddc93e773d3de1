"""Fuzzing: one harness per parser of untrusted bytes, for atheris, for a driver of our own, and for the suite."""
