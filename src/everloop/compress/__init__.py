"""Model in, smaller model out: variants tried and measured."""
