"""What to show whom."""
