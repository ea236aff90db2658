"""The bus: publish, read as a group (work), follow as a replica (view)."""

from shared.runtime.bus.port import Bus, Handler, Position, Received, Record, View, Work

__all__ = ["Bus", "Handler", "Position", "Received", "Record", "View", "Work"]
