"""Send times: what a log says of them, models that learn them, what they are worth, and whether they still hold."""
