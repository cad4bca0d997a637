"""The whole road once, over a real socket: recipe -> package -> HTTP -> the picture that torch would have given."""

import io
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.drawings import build_small_recipe, drawings
from training import train_autoencoder
from training.architectures import autoencoder
from training.data import datasets
from training.engine import checkpoint

AT_ONCE = {**os.environ, "AUTOENCODER_DRAIN": "0"}  # it leaves as soon as it is told


def test_what_comes_back_over_http_is_what_torch_says(tmp_path: Path) -> None:
    np.save(tmp_path / "drawings.npy", drawings(150))
    recipe = build_small_recipe(tmp_path / "drawings.npy", {"optimization.epochs": 6})
    data = datasets.load(recipe.data)
    train_autoencoder.run(recipe, data, tmp_path / "models" / "small", tmp_path / "runs", torch.device("cpu"))

    torch_side = autoencoder.build(recipe.architecture, data.train).eval()
    state = checkpoint.load(tmp_path / "runs" / "small" / "checkpoint.pt", f"{recipe.digest} {data.digest}")
    assert state is not None
    torch_side.load_state_dict(state["best"])
    with torch.inference_mode():
        expected = torch_side.decode(torch_side.encode(torch.from_numpy(data.test[:1]))).numpy()[0, :, :, 0]

    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--models", str(tmp_path / "models")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=AT_ONCE
    ) as process:
        assert process.stdout is not None
        try:
            url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
            buffer = io.BytesIO()
            Image.fromarray(data.test[0, :, :, 0]).save(buffer, "PNG")
            request = urllib.request.Request(
                f"{url}/v1/models/small/reconstruct", buffer.getvalue(), {"Content-Type": "image/png"}
            )
            with urllib.request.urlopen(request, timeout=30) as response:
                drawn = np.asarray(Image.open(io.BytesIO(response.read())))
                error = float(response.headers["Reconstruction-Error"])
            with urllib.request.urlopen(f"{url}/v1/models/small", timeout=30) as response:
                card = json.load(response)
        finally:
            process.terminate()
    assert np.abs(drawn.astype(int) - expected.astype(int)).max() <= 1
    assert abs(error - np.mean(((drawn.astype(float) - data.test[0, :, :, 0]) / 255) ** 2)) < 1e-6
    assert (
        card["evaluation"]["reconstruction_mse"]["value"]
        < card["evaluation"]["reconstruction_mse"]["baselines"]["mean of train"]
    )
