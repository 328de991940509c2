"""Tests that look at widgets and notebooks in a real browser, in marimo and in JupyterLab; `make browser` runs them."""
