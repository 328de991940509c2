"""A journey as a picture, as Mermaid text, and as the table behind both.

`svg` is one static picture for notebooks and reports, `mermaid` a text that GitHub and GitLab render, `draw_table` the
same facts as a frame. All three may carry the numbers of a replay. Ranks run downwards: boxes with text in them are
wide and low, so a journey fits the width of a page at its natural size and a notebook cell scrolls the way it grows.
"""

from journeylab.language import count_text, share_text

from .facts import draw_table
from .mermaid import mermaid
from .svg import svg

__all__ = ["count_text", "draw_table", "mermaid", "share_text", "svg"]
