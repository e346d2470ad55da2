"""The pure part: values and rules. Knows no file system, clock, network or log; everything comes in by argument."""
