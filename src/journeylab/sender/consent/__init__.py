"""Consent: asked for, given and withdrawn, with the proof of each."""
