"""Other systems as their vendors' published references describe them, for contract tests; each says which pages."""
