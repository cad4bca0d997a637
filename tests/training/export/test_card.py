from tests.training.export import packages
from training.export import card
from training.recipe import Dense


def test_the_card_shows_figures_numbers_notes_and_how_to_make_the_package_again() -> None:
    _, _, manifest = packages.export(Dense(latent_dim=4), packages.IMAGES)
    text = card.render(manifest, {"curve.png": "Learning curve"}, "A note.", "They agree.")
    assert text.startswith("# small, version 1\n")
    for line in (
        "![Learning curve](curve.png)",
        "| reconstruction mse | **0.1** |",
        "A note.",
        "Parity: They agree.",
        "autoencoder-train models/small/1/recipe.toml",
        "autoencoder-train compare models/small models/ANOTHER",
    ):
        assert line in text.splitlines(), line
    assert "60 training, 20 validation, 20 test samples" in text


def test_the_card_of_a_model_that_keeps_figures_says_that_its_numbers_are_of_the_network() -> None:
    _, _, manifest = packages.export(Dense(latent_dim=4), packages.IMAGES)
    texts = {
        keeps: card.render(manifest.model_copy(update={"keeps_figures": keeps}), {}, "", "They agree.")
        for keeps in (True, None)
    }
    assert card.NETWORK_ALONE in texts[True].splitlines()
    assert card.NETWORK_ALONE not in texts[None]


def test_a_command_of_a_card_that_writes_a_file_fails_with_the_service_s_sentence_in_it() -> None:
    _, _, manifest = packages.export(Dense(latent_dim=4), packages.IMAGES)
    psnr = {"reconstruction_psnr": manifest.evaluation["reconstruction_mse"]}
    for operations in (("encode", "decode", "reconstruct", "denoise", "sample"), ("denoise",)):
        facts = manifest.model_copy(update={"operations": operations, "evaluation": {**manifest.evaluation, **psnr}})
        text = card.render(facts, {}, "", "They agree.")
        commands = [line for line in text.splitlines() if line.startswith("curl ")]
        assert len([line for line in commands if " -o " in line]) >= min(3, len(operations))
        assert all(("--fail-with-body" in line) == (" -o " in line) for line in commands)
