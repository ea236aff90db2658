"""How a service runs: bus, key-value store, releases, loop, HTTP, settings, telemetry."""
