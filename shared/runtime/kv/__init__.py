"""The key-value store: Redis behind the manifest's key spaces."""

from shared.runtime.kv.port import KeyValue, Pipeline, Script
from shared.runtime.kv.redis import RedisKeyValue, connect

__all__ = ["KeyValue", "Pipeline", "RedisKeyValue", "Script", "connect"]
