"""The search: errors of events, regions from the background, histograms, significances, candidates."""
