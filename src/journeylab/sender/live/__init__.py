"""The live world: events come in, and the machine advances those for whom something is due."""
