"""For whom it works: segments, rankings by uplift, rules for whom to send what."""
