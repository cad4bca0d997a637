"""MLServer: numbers as JSON in the open inference protocol; it has no other form."""

import sys
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

sys.path.insert(0, str(Path(__file__).parents[1]))
from work import Work


class Served(MLModel):
    async def load(self) -> bool:
        self.work = Work()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = payload.inputs[0]
        output = self.work.run(np.array(given.data.root, np.uint8).reshape(given.shape))
        answer = ResponseOutput(
            name="latent", shape=list(output.shape), datatype="FP32", data=output.reshape(-1).tolist()
        )
        return InferenceResponse(model_name=self.name, outputs=[answer])
