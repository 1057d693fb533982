"""The order of the stages, and the decision what to do next."""
