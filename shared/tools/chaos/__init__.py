"""Seeded faults under load, and a count of what was lost or took effect twice."""
