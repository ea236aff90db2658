"""Runs one process: ``python -m services.recommender http``, or ``worker``."""

import os

# Requests share the cores already: a second thread for a small product costs more than it brings.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from services.recommender.app import build
from services.recommender.manifest import SERVICE
from services.recommender.settings import Settings
from shared.runtime.process import run

run(SERVICE, Settings, build)
