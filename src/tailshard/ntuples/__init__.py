"""Ntuples: which files, which partitions, and what each release calls things."""
