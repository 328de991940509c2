"""How many units it takes, and how long."""
