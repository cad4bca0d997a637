from pathlib import Path

import torch

from tests.drawings import drawings
from training.architectures.autoencoder import build
from training.engine.pretraining import pretrain
from training.engine.step_inputs.augmentation import Augmenter
from training.recipe import AutoencoderAugmentation, Dense, Pretraining

IMAGES = torch.from_numpy(drawings(200))[..., None]


def test_each_layer_learns_to_reconstruct_the_one_before(tmp_path: Path) -> None:
    torch.manual_seed(0)
    autoencoder = build(Dense(latent_dim=8, hidden=(64, 24), activation="silu"), IMAGES.numpy())
    untrained = autoencoder(autoencoder.scaling(IMAGES[160:])).detach()
    histories = pretrain(
        autoencoder,
        IMAGES[:160],
        IMAGES[160:],
        Pretraining(epochs=15, batch_size=16, learning_rate=3e-3, masking=0.1),
        Augmenter(AutoencoderAugmentation(flip=True)),
        generator=torch.Generator().manual_seed(0),
        folder=tmp_path,
        fingerprint="this",
    )
    assert len(histories) == 3
    for history in histories:
        assert history.validation[history.best] < 0.8 * history.validation[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["layer-1.pt", "layer-2.pt", "layer-3.pt"]
    clean = autoencoder.scaling(IMAGES[160:])
    stacked = autoencoder(clean).detach()
    assert (stacked - clean).pow(2).mean() < 0.7 * (untrained - clean).pow(2).mean()


def test_tied_layers_are_pretrained_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    autoencoder = build(Dense(latent_dim=8, hidden=(24,), tied=True), IMAGES.numpy())
    initial = autoencoder.encoder[1][0].weight.detach().clone()  # type: ignore[index]
    pretrain(
        autoencoder, IMAGES[:160], IMAGES[160:], Pretraining(epochs=1), None,
        generator=torch.Generator().manual_seed(0), folder=tmp_path, fingerprint="this",
    )  # fmt: skip
    assert not torch.equal(initial, autoencoder.encoder[1][0].weight)  # type: ignore[index]
