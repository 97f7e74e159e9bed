"""Events in GeV: objects, cuts, weights and the quantities physicists plot."""
