"""The sender at size: `python -m benchmarks.scale`; see `docs/scale.md` for what came of it."""
