"""What the collector decides; pure functions and values."""
