"""One module per verb, imported when the verb runs; each has `run(options, terminal) -> exit code`."""
