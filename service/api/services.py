"""Services: the objects that requests use, built once in service.app.create_app and handed to routes and handlers."""

from dataclasses import dataclass

from service.inference.admission import Admission
from service.inference.documents import Documents
from service.inference.engine import Inference
from service.inference.inputs import Preprocessor
from service.inference.scheduler import Scheduler
from service.observability.metrics import Metrics
from service.observability.statistics import Statistics
from service.repository.registry import Registry
from service.repository.store import ModelStore
from service.server.lifecycle import Lifecycle
from service.settings import Settings


@dataclass(frozen=True)
class Services:
    """One application's. None of them is replaced while it runs."""

    settings: Settings
    store: ModelStore
    registry: Registry
    admission: Admission
    scheduler: Scheduler
    preprocessor: Preprocessor
    inference: Inference
    documents: Documents
    statistics: Statistics
    metrics: Metrics
    lifecycle: Lifecycle
