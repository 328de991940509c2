"""Other systems: what is told to them and asked of them, in their words."""
