"""Toy ntuples with known truth, in the layout of the 2025 ATLAS open data or of the SUSY group.

Simulation of three backgrounds and a signal (`processes` says which, and how far to trust them), and
`data`: the backgrounds in their proportions, with Poisson fluctuations, and a known number of signal
events. As in the release, `sum_of_weights` counts everything that was generated while the files hold
what passes the 2J2LMET30 skim, leptons and jets are in no order, and data has weights of one, a
cross-section of zero and run numbers of its own.

In the layout of the SUSY group (`layouts`) the same collisions come with three campaigns of
simulation, four years, trigger chains and the flags that its selections need.

The same parameters give the same events and the same ROOT identities (UUIDs); the files differ only in
the time of writing that ROOT notes in them.
"""

from .samples import make_toys
from .truth import ToySample, ToyTruth

__all__ = ["ToySample", "ToyTruth", "make_toys"]
