"""From the write-ahead log to Kafka, in order and once."""
