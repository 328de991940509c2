"""Sending: from a message that is ready to a relay that has taken it, once."""
