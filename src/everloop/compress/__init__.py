"""Model in, smaller model out: variants tried and measured."""

from everloop.compress.compress import VARIANTS, Compressed, SelectRows, compress
from everloop.compress.evidence import Measured, VariantEvidence

__all__ = ["VARIANTS", "Compressed", "Measured", "SelectRows", "VariantEvidence", "compress"]
