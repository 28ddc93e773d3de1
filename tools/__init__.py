"""The command line, the benchmark and the demonstration: what people run. No other part of rarefy imports this."""
