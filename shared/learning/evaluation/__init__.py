"""How well a model ranks, with the noise of the answer, and whether it may replace another."""
