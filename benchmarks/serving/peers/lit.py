"""LitServe: files come as a form, since raw bodies are read as JSON."""

import os

import litserve
import numpy as np
from fastapi import Response
from starlette.requests import Request
from work import Work, decode, encode

BATCH = int(os.environ["BATCH"])


class Served(litserve.LitAPI):
    def setup(self, device):  # noqa: ARG002  (LitServe calls it so)
        self.work = Work()

    def decode_request(self, request: Request):
        if "body" not in request:
            return "application/json", decode_json(request)
        upload = request["body"]
        return upload.content_type, decode(upload.file.read(), upload.content_type)

    def batch(self, inputs):
        return inputs

    def predict(self, given):
        if BATCH == 1:
            return given[0], self.work.run(given[1])
        outputs = self.work.run(np.concatenate([array for _, array in given]))
        return [(kind, outputs[i : i + 1]) for i, (kind, _) in enumerate(given)]

    def unbatch(self, outputs):
        return outputs

    def encode_response(self, output):
        kind, array = output
        return Response(encode(array, kind), media_type=kind)


def decode_json(document):
    return np.array(document["inputs"], np.uint8)


if __name__ == "__main__":
    api = Served(max_batch_size=BATCH, batch_timeout=0.001 if BATCH > 1 else 0.0, api_path="/")
    litserve.LitServer(api, accelerator="cpu", workers_per_device=int(os.environ["WORKERS"])).run(
        port=int(os.environ["PORT"]), log_level="error", generate_client_file=False, num_api_servers=1
    )
