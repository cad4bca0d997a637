"""Dashboard and alerts ask for what the service tells, and are found by what reads them."""

import re
from itertools import combinations
from pathlib import PurePosixPath
from typing import Any

import promql_parser
import pytest

from tests.deploy import files
from tests.deploy.metrics import METRICS

COMPOSE: dict[str, Any] = files.read(files.ROOT / "docker-compose.yml")
DASHBOARD: dict[str, Any] = files.read(files.OBSERVE / "grafana" / "dashboards" / "autoencoder.json")
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
VARIABLES: dict[str, dict[str, Any]] = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
ALERTS: list[dict[str, Any]] = [
    rule for group in files.read(files.OBSERVE / "alerts.yml")["groups"] for rule in group["rules"]
]
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel.get("targets", [])
}
QUERIES |= {rule["alert"]: rule["expr"] for rule in ALERTS}


def parsed(query: str) -> Any:
    """The query with what Grafana fills in; raises ValueError if Prometheus would not take it."""
    return promql_parser.parse(
        query.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$model", ".*")
    )


def wrong(query: str) -> list[str]:
    """What a query names that no metric has: names, labels that it selects, labels that it groups by."""
    found: list[str] = []
    labels: set[str] = set()
    grouped: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            name = node.name or "a query without a name"
            known = METRICS.get(name, set()) | {"instance", "job"}
            if name not in METRICS:
                found.append(name)
            found.extend(m.name for m in node.matchers.matchers if m.name not in known)
            labels.update(known)
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            grouped.update(node.modifier.labels)

    promql_parser.walk(parsed(query), visit)
    return found + sorted(grouped - labels)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_uses_only_metrics_and_labels_that_the_service_has(name: str) -> None:
    assert wrong(QUERIES[name]) == []


@pytest.mark.parametrize(
    "panel", [panel for panel in PANELS if panel["type"] != "row"], ids=lambda panel: panel["title"]
)
def test_a_legend_shows_labels_that_its_query_leaves(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        for label in re.findall(r"{{(\w+)}}", target.get("legendFormat", "")):
            by = re.search(r"by \(([^)]*)\)", target["expr"])
            assert label in (re.split(r",\s*", by[1]) if by else ["instance"]), target["expr"]


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("sum(rate(autoencoder_request_total[1m]))", ["autoencoder_request_total"]),
        ('sum(rate(autoencoder_requests_total{code="200"}[1m]))', ["code"]),
        ("sum by (stage) (rate(autoencoder_requests_total[1m]))", ["stage"]),
    ],
)
def test_a_wrong_query_is_caught(query: str, fault: list[str]) -> None:
    assert wrong(query) == fault
    with pytest.raises(ValueError):
        parsed(query + ")")


def test_panels_do_not_lie_on_each_other() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    boxes = [(p["gridPos"]["x"], p["gridPos"]["y"], p["gridPos"]["w"], p["gridPos"]["h"]) for p in PANELS]
    assert all(x + w <= 24 for x, _, w, _ in boxes)
    for (x, y, w, h), (x2, y2, w2, h2) in combinations(boxes, 2):
        assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_every_variable_of_a_query_is_declared() -> None:
    text = str(PANELS)
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval"}
    assert used == set(VARIABLES)
    for variable in ("instance", "model"):
        query = VARIABLES[variable]["query"]["query"]
        inner = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert inner is not None
        assert wrong(inner[1]) == []
        assert inner[2] in METRICS[inner[1].split("{")[0]] | {"instance"}


def test_every_alert_says_what_it_is_and_what_to_do() -> None:
    for rule in ALERTS:
        assert set(rule["annotations"]) == {"summary", "remedy"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert re.fullmatch(r"\d+[mh]", rule["for"])


def test_prometheus_asks_the_services_of_compose() -> None:
    prometheus = files.read(files.OBSERVE / "prometheus.yml")
    (job,) = prometheus["scrape_configs"]
    (discovered,) = job["dns_sd_configs"]
    assert set(discovered["names"]) == {"autoencoder", "gpu"} <= set(COMPOSE["services"])
    assert str(discovered["port"]) == files.environment()["AUTOENCODER_PORT"]
    assert f'job="{job["job_name"]}"' in DASHBOARD["templating"]["list"][1]["query"]["query"]
    mounted = mounts("prometheus")
    assert {f"/etc/prometheus/{rules}" for rules in prometheus["rule_files"]} < set(mounted)


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    provisioning = files.OBSERVE / "grafana" / "provisioning"
    (source,) = files.read(provisioning / "datasources" / "prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = files.read(provisioning / "dashboards" / "autoencoder.yml")["providers"]
    mounted = mounts("grafana")
    home = PurePosixPath(COMPOSE["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    assert (files.ROOT / mounted[str(home.parent)] / home.name).is_file()
    assert (files.ROOT / mounted["/etc/grafana/provisioning"]).samefile(provisioning)


def mounts(service: str) -> dict[str, str]:
    """Where in the container -> what of this repository."""
    volumes = [volume.split(":") for volume in COMPOSE["services"][service]["volumes"]]
    return {parts[1]: parts[0] for parts in volumes}
