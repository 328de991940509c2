"""Who was exposed when and in which arm, and what followed: from replays and the log."""
