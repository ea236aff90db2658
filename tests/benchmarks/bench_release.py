"""How fast a trained model reaches every replica."""

import subprocess
import sys
import time
from collections.abc import Mapping
from statistics import median

import numpy as np

from shared.tools.local.stack import Stack
from tests.benchmarks import replica
from tests.benchmarks.registry import Context, Figure, benchmark

REPLICAS, ROUNDS = 3, 5


@benchmark("release-10mib-seconds", unit="s", must=(2.0,), aim=(0.5,))
def release(context: Context) -> Mapping[str, Figure]:
    """From the trainer's `publish` of 10 MiB to the moment the last of three replicas serves it."""
    took = []
    with Stack(home=context.work, random_ports=True) as stack:
        command = [sys.executable, "-m", "tests.benchmarks.replica", stack.redis, str(context.work)]
        replica.make_keys(context.work)
        replicas = [
            subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True)
            for n in range(REPLICAS)
        ]
        try:
            for number in range(ROUNDS + 1):
                content = np.random.default_rng(number).integers(0, 256, 10 << 20, dtype=np.uint8)
                began = time.perf_counter()
                version = replica.publish(stack.redis, context.work, content)
                for process in replicas:
                    while (
                        process.stdout is not None and process.stdout.readline().strip() != version
                    ):
                        pass
                if number:
                    took.append(time.perf_counter() - began)
        finally:
            for process in replicas:
                process.terminate()
                process.wait()
    detail = {"replicas": REPLICAS, "seconds": [round(t, 3) for t in took]}
    return {"release-10mib-seconds": Figure(median(took), ROUNDS, detail)}
