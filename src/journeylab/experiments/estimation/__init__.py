"""Effects and their errors, from moments, order statistics and times."""
