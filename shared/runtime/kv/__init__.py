"""The key-value store: Redis behind the manifest's key spaces."""

from shared.runtime.kv.port import KeyValue, Pipeline

__all__ = ["KeyValue", "Pipeline"]
