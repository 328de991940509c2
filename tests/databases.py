"""The databases that a sender keeps its store in."""

from __future__ import annotations

from typing import Final

import pytest

DATABASES: Final = ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)]
"""The parameters of a fixture that opens a store on either."""
