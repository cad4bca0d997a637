"""OpenAPI and the documentation pages."""

from pathlib import Path

from starlette.testclient import TestClient

from tests.service.http import post, served


def test_documentation_can_be_switched_off(models: Path) -> None:
    with served(models, docs=False) as client:
        for path in ("/docs", "/openapi.json", "/redoc", "/static-offline-docs/swagger-ui.css"):
            assert client.get(path).status_code == 404, path
        assert post(client).status_code == 200


def test_the_documentation_leads_back_only_where_there_is_a_page(models: Path) -> None:
    with served(models, page=False) as client:
        assert '<a href="./">' not in client.get("/docs").text


def test_every_example_of_the_openapi_document_works(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    example_count = 0
    for path, methods in document["paths"].items():
        for media, content in methods.get("post", {}).get("requestBody", {}).get("content", {}).items():
            if "example" in content:
                target = path.replace("{name}", "small").replace("{version}", "1")
                response = client.post(target, json=content["example"], headers={"Content-Type": media})
                assert response.status_code == 200, (path, response.text)
                example_count += 1
    assert example_count == 10


def test_the_documentation_needs_nothing_from_outside(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "https://" not in page
    assert "prefers-color-scheme: dark" in page
    assert '<a href="./">' in page
    script = page.split('<script src="')[1].split('"')[0]
    assert len(client.get(script).content) > 100_000


def test_refusals_are_documented_as_problem_documents(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    refusals = [
        (address, status, tuple(response["content"]))
        for address, path in document["paths"].items()
        for operation in path.values()
        for status, response in operation["responses"].items()
        if int(status) >= 400 and "Problem" in str(response)
    ]
    assert len(refusals) > 20
    assert {media for _, _, media in refusals} == {("application/problem+json",)}
