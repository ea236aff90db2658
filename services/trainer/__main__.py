"""Runs one process: ``python -m services.trainer http``, or ``worker``."""

from services.trainer.app import build
from services.trainer.manifest import SERVICE
from services.trainer.settings import Settings
from shared.runtime.process import run

run(SERVICE, Settings, build)
