"""The limits, as clients read them."""

from starlette.testclient import TestClient

from service.settings import Settings


def test_the_limits_are_those_of_the_settings(client: TestClient) -> None:
    limits = client.get("/v1/limits").json()
    settings: Settings = client.app.services.settings  # type: ignore[attr-defined]
    types = limits.pop("media_types")
    assert limits == {name: getattr(settings, name) for name in limits}
    assert {"max_deadline", "max_pixels", "max_body_bytes"} <= set(limits)
    assert {"image/png", "image/gif", "image/avif", "application/pdf"} <= set(types)
