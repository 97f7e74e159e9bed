"""Robustness of a search without any signal: what the network makes of events that were disturbed."""
