"""Features that training and serving compute with the same code."""
