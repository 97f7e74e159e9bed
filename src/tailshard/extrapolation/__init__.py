"""How long a search would take on machines that are not here: an extrapolation, and said to be one.

::

    probe     a small store, filled as ingest does it
    measure   a few seconds of the real work on one core of this machine -> rates
    model     rates, the work of a pipeline, other machines              -> times, and what limits them

docs/scaling.md has the formulas and what they leave out.
"""
