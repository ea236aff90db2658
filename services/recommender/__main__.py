"""Runs one process: ``python -m services.recommender http``, or ``worker``."""

from services.recommender.app import build
from services.recommender.manifest import SERVICE
from services.recommender.settings import Settings
from shared.runtime.process import run

run(SERVICE, Settings, build)
