"""The write-ahead log: what was acknowledged is on disk before Kafka has it."""
