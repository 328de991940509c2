"""What is known of each system's exports: a module for each, with its `ADAPTER`, written from public documentation."""
