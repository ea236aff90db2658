"""``python -m services.collector http|stream``."""

import sys

from services.collector.manifest import SERVICE
from services.collector.settings import CollectorSettings
from shared.runtime.process import run

# Each process loads only what it needs: the stream no doors, the doors no Faust.
if sys.argv[1:] == ["stream"]:
    from services.collector import stream

    run(SERVICE, CollectorSettings, stream.build)
else:
    from services.collector import app

    run(SERVICE, CollectorSettings, app.build)
