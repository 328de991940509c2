"""Looks that were planned: how the error is spent on them, and what each says."""
