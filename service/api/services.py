"""Services: the objects that requests use, built once in service.app.create_app and handed to routes and handlers."""

from dataclasses import dataclass

from service.errors import IndexMissing, ModelFailed
from service.inference.admission import Admission
from service.inference.documents import Documents
from service.inference.engine import Inference
from service.inference.inputs import Preprocessor
from service.inference.scheduler import Scheduler
from service.model.errors import PackageError
from service.model.measures.neighbours import Index
from service.model.runtime import Model
from service.observability.metrics import Metrics
from service.observability.statistics import Statistics
from service.repository.indexes import NeighbourIndexes
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
    indexes: NeighbourIndexes
    admission: Admission
    scheduler: Scheduler
    preprocessor: Preprocessor
    inference: Inference
    documents: Documents
    statistics: Statistics
    metrics: Metrics
    lifecycle: Lifecycle

    async def find_index(self, model: Model) -> Index:
        """The model's index of neighbours, opened in a thread; raises IndexMissing (409), ModelFailed (500)."""
        manifest = model.manifest
        key = manifest.key
        if not self.has_index(model):
            raise IndexMissing(
                f"{manifest.name} version {manifest.version} has no index of neighbours; build one: "
                f"autoencoder-service index FOLDER --model {manifest.name}"
            )
        try:
            index = await self.scheduler.call(lambda size: self.indexes.get(key, size), model.latent_size)
        except (PackageError, OSError) as error:
            raise ModelFailed(f"the index of {key} cannot be read; build it again with `index`") from error
        if index is None:
            raise IndexMissing(f"the index of {key} was removed meanwhile")
        return index

    def has_index(self, model: Model) -> bool:
        """Whether neighbours can be found: latents are [N,D], and there is a file."""
        manifest = model.manifest
        is_row = model.latent is not None and len(model.latent.shape) == 2 and "encode" in manifest.operations
        return is_row and self.indexes.has(manifest.key)
