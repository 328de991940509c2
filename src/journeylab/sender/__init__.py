"""The sender: the live world, in which a release's journeys send mail.

The machine that replays is the machine that runs here, over the events that were received so far; only what is due is
advanced, and what it decides is written down before anything leaves.
"""
