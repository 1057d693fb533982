"""Raw table in, clean table and quarantine out; and the as-of join."""

from everloop.validate.expressions import check_syntax
from everloop.validate.join import join
from everloop.validate.label import check_label, label_expression
from everloop.validate.stage import CleanReport, clean

__all__ = ["CleanReport", "check_label", "check_syntax", "clean", "join", "label_expression"]
