"""A sparse autoencoder as large as those of language models, with random weights: 16,384 features of 2,304 numbers.

weights -> files as SAELens saves them -> autoencoder-train import -> build/models/sae/1 (300 MB)
"""

import json
import tempfile
from pathlib import Path

import numpy as np

NUMBERS, FEATURES = 2304, 16384
PACKAGE = Path("build/models/sae/1")


def write() -> None:
    """The package, unless it is there."""
    if PACKAGE.exists():
        return
    from safetensors.numpy import save_file  # of the extra `training`

    from training.__main__ import main

    generator = np.random.default_rng(0)
    decoder = generator.standard_normal((FEATURES, NUMBERS), np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    tensors = {
        "W_enc": np.ascontiguousarray(decoder.T), "W_dec": decoder, "b_dec": np.zeros(NUMBERS, np.float32),
        "b_enc": np.zeros(FEATURES, np.float32), "threshold": np.full(FEATURES, 2.5, np.float32),
    }  # fmt: skip
    config = {"architecture": "jumprelu", "d_in": NUMBERS, "d_sae": FEATURES, "normalize_activations": "none"}
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder) / "sae_weights.safetensors")
        (Path(folder) / "cfg.json").write_text(json.dumps(config))
        if main(["import", "--saelens", folder, "--out", str(PACKAGE.parent)]):
            raise SystemExit(2)
