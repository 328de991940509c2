"""A split that moves its shares while it runs, what its log still tells, and what it costs."""
