"""Training: a network learns to reconstruct the background, on one worker or on many.

`scaling` makes the cells comparable, `loop` is what one rank does, `checkpoint` is what outlives it,
`metrics` is what a person watches, `distributed` runs ranks under Ray Train, and `ensemble` trains one
network for each seed; `members` knows where they lie.
"""
