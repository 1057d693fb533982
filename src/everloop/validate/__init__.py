"""Raw table in, clean table and quarantine out; and the as-of join."""

from everloop.validate.stage import CleanReport, clean
from everloop.validate.join import join
from everloop.validate.label import label_expression

__all__ = ["CleanReport", "clean", "join", "label_expression"]
