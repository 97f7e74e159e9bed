"""A hidden amount of a hidden signal, a claim, and the truth: blind tests of a whole search."""
