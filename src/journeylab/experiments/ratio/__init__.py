"""Whether the arms have the units that they should."""
