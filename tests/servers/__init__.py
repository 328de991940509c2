"""Foreign servers for the sender's tests: SMTP with a ledger, Postfix, PostgreSQL, and a network that fails."""

LOOPBACK = "127.0.0.1"
