"""What the network sees of an event: four-vectors in, one rapidity-mass matrix an event out."""
