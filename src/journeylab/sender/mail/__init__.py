"""Messages: what is sent, how it is written, and what comes back of it."""
