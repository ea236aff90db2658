"""Files of a shop → events at the collector's door."""
