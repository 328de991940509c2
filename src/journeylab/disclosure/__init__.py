"""What may leave the analysts' zone: numbers that tell of nobody, through one gate, and rows only by permission.

`cells` makes a table of people, `disclose` shows what of it may be shown. docs/disclosure.md is the guide.
"""

from .disclosed import Disclosed
from .gate import disclose
from .keys import LedgerKey, PseudonymKeys
from .ledger import Ledger
from .people import Cells, cells

__all__ = ["Cells", "Disclosed", "Ledger", "LedgerKey", "PseudonymKeys", "cells", "disclose"]
