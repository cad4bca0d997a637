"""The manifests are valid, agree with each other, with the image and with the service's own limits."""

from typing import Any

import kubernetes_validate
import pytest
import yaml
from starlette.testclient import TestClient

from tests.deploy import files
from tests.deploy.metrics import METRICS

KUSTOMIZATION: dict[str, Any] = files.read(files.BASE / "kustomization.yaml")
OVERLAY: dict[str, Any] = files.read(files.BASE.parent / "gpu" / "kustomization.yaml")
OBJECTS: dict[str, dict[str, Any]] = {
    found["kind"]: found for found in map(files.read, map(files.BASE.joinpath, KUSTOMIZATION["resources"]))
}
POD: dict[str, Any] = OBJECTS["Deployment"]["spec"]["template"]
CONTAINER: dict[str, Any] = POD["spec"]["containers"][0]
SETTINGS = files.key_values(KUSTOMIZATION["configMapGenerator"][0]["literals"])


def test_every_file_is_part_of_the_base() -> None:
    there = {path.name for path in files.BASE.iterdir()} - {"kustomization.yaml"}
    assert there == set(KUSTOMIZATION["resources"])
    kinds = "Deployment Service HorizontalPodAutoscaler PodDisruptionBudget NetworkPolicy"
    assert set(OBJECTS) == set(kinds.split())


@pytest.mark.parametrize("kind", OBJECTS)
def test_kubernetes_would_take_it(kind: str) -> None:
    kubernetes_validate.validate(OBJECTS[kind], "1.37", strict=True)


def test_all_select_the_same_pods() -> None:
    labels = POD["metadata"]["labels"]
    deployment, network = OBJECTS["Deployment"]["spec"], OBJECTS["NetworkPolicy"]["spec"]
    assert deployment["selector"]["matchLabels"] == labels
    assert POD["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == labels
    assert OBJECTS["Service"]["spec"]["selector"] == labels
    assert OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert network["podSelector"]["matchLabels"] == labels
    assert [pair["pairs"] for pair in KUSTOMIZATION["labels"]] == [labels]


def test_ports_are_those_of_the_image() -> None:
    (port,) = CONTAINER["ports"]
    assert str(port["containerPort"]) == files.environment()["AUTOENCODER_PORT"]
    assert POD["metadata"]["annotations"]["prometheus.io/port"] == str(port["containerPort"])
    assert OBJECTS["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert OBJECTS["NetworkPolicy"]["spec"]["ingress"][0]["ports"][0]["port"] == port["name"]


def test_the_probes_ask_what_the_service_answers(client: TestClient) -> None:
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = CONTAINER[probe]["httpGet"]
        assert asked["port"] == CONTAINER["ports"][0]["name"]
        assert client.get(asked["path"]).status_code in (200, 503)  # 503: ready, of a service without models
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/livez"  # else a pod without models is killed for it


def test_the_pod_is_hardened() -> None:
    pod = POD["spec"]["securityContext"]
    user = next(rest for name, rest in files.instructions() if name == "USER")
    assert f"{pod['runAsUser']}:{pod['runAsGroup']}" == user
    assert pod["runAsNonRoot"] is True
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["spec"]["automountServiceAccountToken"] is False
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert OBJECTS["NetworkPolicy"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert OBJECTS["NetworkPolicy"]["spec"]["egress"] == []


def test_a_service_of_the_same_name_does_not_set_our_variables() -> None:
    assert POD["spec"]["enableServiceLinks"] is False  # AUTOENCODER_PORT would be tcp://..., and stop the start


def test_settings_are_real_and_the_largest_load_fits() -> None:
    chosen = files.settings(SETTINGS)
    tmp = files.bytes_of(POD["spec"]["volumes"][0]["emptyDir"]["sizeLimit"])
    assert CONTAINER["envFrom"] == [{"configMapRef": {"name": KUSTOMIZATION["configMapGenerator"][0]["name"]}}]
    limits = CONTAINER["resources"]["limits"]
    assert files.most_memory(chosen, int(limits["cpu"])) + tmp <= files.bytes_of(limits["memory"])


def test_a_pod_is_given_the_time_that_its_longest_request_takes() -> None:
    leaving = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert leaving >= CONTAINER["readinessProbe"]["periodSeconds"]
    assert POD["spec"]["terminationGracePeriodSeconds"] > leaving + files.longest_request(files.settings(SETTINGS))


def test_the_autoscaler_looks_at_the_queue_and_alone_says_how_many_pods() -> None:
    spec = OBJECTS["HorizontalPodAutoscaler"]["spec"]
    assert "replicas" not in OBJECTS["Deployment"]["spec"]
    assert spec["scaleTargetRef"]["name"] == OBJECTS["Deployment"]["metadata"]["name"]
    assert spec["minReplicas"] >= 2  # with one pod the disruption budget would stop every drain of a node
    metric = spec["metrics"][0]["pods"]["metric"]["name"]
    assert metric in METRICS
    (rule,) = files.read(files.BASE.parent / "prometheus-adapter.yaml")["rules"]["custom"]
    assert rule["name"]["as"] == metric
    assert rule["seriesQuery"].startswith(metric)


def test_the_gpu_overlay_changes_what_is_there() -> None:
    assert OVERLAY["resources"] == ["../base"]
    assert OVERLAY["images"][0]["name"] == CONTAINER["image"] == KUSTOMIZATION["images"][0]["name"]
    patches = {patch["target"]["kind"]: (patch["target"]["name"], yaml.safe_load(patch["patch"]))
               for patch in OVERLAY["patches"]}  # fmt: skip
    assert {kind: name for kind, (name, _) in patches.items()} == {
        kind: OBJECTS[kind]["metadata"]["name"] for kind in patches
    }
    (container,) = patches["Deployment"][1]["spec"]["template"]["spec"]["containers"]
    assert container["name"] == CONTAINER["name"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    removed = next(change["path"] for change in patches["HorizontalPodAutoscaler"][1] if change["op"] == "remove")
    metrics = OBJECTS["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metrics[int(removed.rsplit("/", 1)[1])]["type"] == "Resource"
