"""Clients that others' tools make from /openapi.json: without a warning, with plain names, and they work."""

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.service.http import picture

PACKAGE = "autoencoder_service_client"
TYPESCRIPT = """
import type { operations } from "./client";
type Answer = operations["encode"]["responses"]["200"]["content"]["application/json"];
type Query = NonNullable<operations["denoise"]["parameters"]["query"]>;
const query: Query = { strength: 0.5 };
async function encode(image: string): Promise<Answer> {
  const body: operations["encode"]["requestBody"]["content"]["application/json"] = { inputs: image };
  const response = await fetch("/v1/models/cats-stacked/encode", { method: "POST", body: JSON.stringify(body) });
  return await response.json() as Answer;
}
encode("").then((answer) => console.log(answer.latents, answer.model, query.strength));
"""


@pytest.fixture
def document(client: TestClient, tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(client.get("/openapi.json").json()), encoding="utf-8")
    return path


@pytest.fixture
def generated(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the package that openapi-python-client makes."""
    program = str(Path(sys.executable).with_name("openapi-python-client"))
    options = ["--path", str(document), "--meta", "none", "--output-path", str(tmp_path / PACKAGE)]
    done = subprocess.run([program, "generate", *options], capture_output=True, text=True, check=True, cwd=tmp_path)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line and not line.startswith("Generating")]
    assert not [line for line in said if "WARNING" in line or "parsing" in line], said
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield PACKAGE
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


def test_a_generated_python_client_encodes_decodes_reconstructs_and_denoises(
    generated: str, client: TestClient
) -> None:
    import httpx

    def module(name: str) -> Any:
        return importlib.import_module(f"{generated}.{name}")

    models, types = module("models"), module("types")
    image = picture()

    def file() -> Any:
        return types.File(BytesIO(image), "page.png", "image/png")

    class Transport(httpx.BaseTransport):
        """Hands requests to the application in this process."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            address = request.url.raw_path.decode()
            answer = client.request(request.method, address, headers=dict(request.headers), content=request.read())
            return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)

    connection = module("client").Client("http://test", httpx_args={"transport": Transport()})

    def call(name: str, body: Any, model: str = "small", **options: Any) -> Any:
        response = module(f"api.operations.{name}").sync_detailed(model, client=connection, body=body, **options)
        assert response.status_code == 200, response.content
        return response.parsed

    listed = module("api.models.list_models").sync(client=connection)
    assert "small" in [entry.name for entry in listed.models]
    for body in (file(), models.EncodeFilesBody(image=[file()])):
        encoded = call("encode", body)
        assert np.isfinite(encoded.latents).all()
    decoded = call("decode", models.DecodeJsonBody(latents=encoded.latents))
    reconstructed = call("reconstruct", models.ReconstructJsonBody(inputs=decoded.outputs))
    assert len(reconstructed.reconstruction_error) == len(decoded.outputs)
    assert call("reconstruct", file(), accept="application/json").percentile
    assert call("denoise", file(), "negative", strength=0.5).payload.read().startswith(b"\x89PNG")
    refused = module("api.operations.encode").sync("nothing", client=connection, body=file())
    assert refused.status == 404


def test_bytes_are_answered_to_whom_asks_for_bytes(client: TestClient) -> None:
    headers = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}
    answer = client.post("/v1/models/negative/denoise", content=picture(), headers=headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.content.startswith(b"\x89PNG")
    usual = client.post("/v1/models/negative/denoise", content=picture(), headers={"Content-Type": "image/png"})
    assert (usual.headers["content-type"], usual.content) == ("image/png", answer.content)


@pytest.mark.skipif(shutil.which("npx") is None, reason="npx is not installed")
def test_generated_typescript_is_well_typed(document: Path, tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["npx", "--yes", *words], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=240
        )

    made = run("openapi-typescript@7.13.0", str(document), "-o", "client.d.ts")
    if made.returncode:
        pytest.skip(f"npm's registry is out of reach: {made.stderr.strip().splitlines()[-1:]}")
    (tmp_path / "use.ts").write_text(TYPESCRIPT, encoding="utf-8")
    checked = run("--package", "typescript@5.9.3", "tsc", "--noEmit", "--strict", "--lib", "es2022,dom", "use.ts")
    assert checked.returncode == 0, checked.stdout + checked.stderr
