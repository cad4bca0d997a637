"""Routes that list models."""

from starlette.testclient import TestClient


def test_the_list_and_the_card_say_what_there_is(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert [m["name"] for m in listed["models"]] == ["negative", "signal", "small"]
    assert listed["refused"] == []
    card = client.get("/v1/models/small").json()
    assert card["versions"] == [1, 2]
    assert card["provider"] == "cpu"
    assert card["ports"]["image"] == {"dtype": "uint8", "shape": ["N", 28, 28, 1]}
    assert card["ports"]["latent"]["shape"] == ["N", 32]
    assert card["training"]["data"]["licence"] == "ours"
    assert client.get("/v1/models/small/versions/1").json()["version"] == 1
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
