"""Promotion: from files in Git to a release that runs, in steps that can be taken back."""
