"""What is claimed of speed, measured: each figure is a ratio to a named alternative, timed in the same run."""
