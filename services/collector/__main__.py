"""``python -m services.collector http|stream``."""

import sys

from services.collector.app import build
from services.collector.manifest import SERVICE
from services.collector.settings import CollectorSettings
from shared.runtime.process import run
from shared.runtime.settings import read

if sys.argv[1:] == ["stream"]:
    from services.collector import stream

    stream.run(read(CollectorSettings), SERVICE)
else:
    run(SERVICE, CollectorSettings, build)
