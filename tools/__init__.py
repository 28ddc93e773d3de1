"""Command line, trainer, benchmark and weights tools."""
