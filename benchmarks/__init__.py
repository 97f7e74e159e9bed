"""Side-by-side measurements of tailshard against its peers: ``python -m benchmarks --help``."""
