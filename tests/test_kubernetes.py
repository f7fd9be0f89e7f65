"""deploy/kubernetes: what a cluster would say of the manifests, and whether they agree with one another, with the image
and with the gateway's own settings."""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import config
from gateway.config import Dicom
from gateway.web.routes import OPEN
from tests.support.peers import need

FOLDER = Path(__file__).parents[1] / "deploy" / "kubernetes"
IMAGE = (FOLDER.parent / "Dockerfile").read_text()
BASE, ONE_NODE = FOLDER / "base", FOLDER / "one-node"

Manifest = dict[str, Any]


def manifests() -> Iterator[tuple[str, Manifest]]:
    for file in sorted(FOLDER.rglob("*.yaml")):
        if file.name != "kustomization.yaml":
            for number, manifest in enumerate(yaml.safe_load_all(file.read_text())):
                yield f"{file.relative_to(FOLDER)}-{number}", manifest


ALL = dict(manifests())


def one(kind: str) -> Manifest:
    (manifest,) = [each for each in ALL.values() if each["kind"] == kind]
    return manifest


def kustomization(folder: Path) -> Manifest:
    made: Manifest = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return made


@pytest.mark.parametrize("name", ALL)
def test_a_cluster_takes_it(name: str) -> None:
    need("kubernetes-validate")
    kubernetes_validate = importlib.import_module("kubernetes_validate")
    kubernetes_validate.validate(ALL[name], kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("folder", [BASE, ONE_NODE], ids=lambda folder: folder.name)
def test_a_kustomization_names_every_file(folder: Path) -> None:
    files = {file.name for file in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert {each for each in kustomization(folder)["resources"] if not each.startswith("../")} == files


def test_what_the_overlay_changes_is_there() -> None:
    stateful_set = one("StatefulSet")
    overlay = kustomization(ONE_NODE)
    for patch in overlay["patches"]:
        assert (patch["target"]["kind"], patch["target"]["name"]) == ("StatefulSet", stateful_set["metadata"]["name"])
        for operation in yaml.safe_load(patch["patch"]):
            at: Any = stateful_set
            for step in operation["path"].strip("/").split("/"):
                at = at[int(step)] if isinstance(at, list) else at[step]
    pod = stateful_set["spec"]["template"]["spec"]
    assert [image["name"] for image in overlay["images"]] == [pod["containers"][0]["image"]]
    (secret,) = overlay["secretGenerator"]
    assert secret["name"] == pod["volumes"][0]["secret"]["secretName"]
    assert overlay["namespace"] == one("Namespace")["metadata"]["name"]


def test_services_and_policy_reach_the_pod() -> None:
    template = one("StatefulSet")["spec"]["template"]
    labels = template["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
    assert set(ports.values()) == {
        int(port) for port in re.findall(r"\d+", re.findall(r"^EXPOSE (.*)$", IMAGE, re.M)[0])
    }
    services = [each for each in ALL.values() if each["kind"] == "Service"]
    assert one("StatefulSet")["spec"]["serviceName"] in {each["metadata"]["name"] for each in services}
    for service in services:
        assert service["spec"]["selector"] == labels
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports)
    policy = one("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == set(ports)


def test_the_pod_is_as_the_image_and_the_settings_have_it() -> None:
    pod = one("StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    user, group = re.findall(r"^USER (\d+):(\d+)$", IMAGE, re.M)[0]
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (int(user), int(group))
    assert container["args"] == ["serve"]
    assert pod["terminationGracePeriodSeconds"] > Dicom().drain_timeout + 10
    probes = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert probes <= OPEN, "a probe signs in nowhere, and calls by the address of the pod"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert Path(environment["GATEWAY_CONFIG"]).parent == Path(mounts["config"])
    (storage,) = re.findall(r"GATEWAY_STORAGE__PATH=(\S+)", IMAGE)
    assert Path(storage).is_relative_to(mounts["data"])


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    from gateway.access.passwords import hash_password

    text = (ONE_NODE / "gateway.example.toml").read_text()
    assert tomllib.loads(text)["http"]["users"][0]["password"] == "of `dicom-gateway hash-password`"
    file = tmp_path / "gateway.toml"
    file.write_text(text.replace("of `dicom-gateway hash-password`", hash_password("a long password")))
    settings = config.load(file, {"GATEWAY_HTTP__HOST": "0.0.0.0", "GATEWAY_DICOM__HOST": "0.0.0.0"})
    assert settings.modalities["ct1"].aet == "CT1"
