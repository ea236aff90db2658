"""The one place where the trainer is put together."""

from services.trainer.api import router
from services.trainer.feedback import Windows
from services.trainer.handlers import clear_person, on_release_changed
from services.trainer.history import Lake
from services.trainer.intake import Intake
from services.trainer.manifest import SERVICE
from services.trainer.plan import Planner
from services.trainer.rollout import Rollout
from services.trainer.settings import Settings
from services.trainer.store import Canaries, Jobs
from services.trainer.worker import Worker
from shared.contracts.topics import ERASURES, MODELS
from shared.runtime.app import App, Ports
from shared.runtime.erasure import erasure_handler


def build(process: str, settings: Settings, ports: Ports) -> App:
    """Return one process of the service."""
    lake, jobs, canaries = Lake(settings.lake_folder), Jobs(ports.kv), Canaries(ports.kv)
    if process == "http":
        windows = Windows(settings.click_minutes, settings.purchase_hours)
        return App(router=router(ports, jobs, canaries, lake, windows))
    planner = Planner(ports, settings, lake, jobs, canaries)
    intake = Intake(
        ports.bus,
        lake,
        ports.clock,
        flush_records=settings.lake_flush_records,
        flush_s=settings.lake_flush_s,
        received=planner.received,
    )
    rollout = Rollout(ports, settings, lake, jobs, canaries)
    worker = Worker(ports, settings, lake, intake, jobs, planner, rollout)
    return App(
        handlers={
            ERASURES: erasure_handler(SERVICE, ports, clear_person(worker)),
            MODELS: on_release_changed(rollout),
        },
        tasks={
            "history": intake.run,
            "jobs": worker.run,
            "releases": worker.keep_releases,
            "rollout": rollout.run,
        },
    )
