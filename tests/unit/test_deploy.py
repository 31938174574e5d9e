"""deploy/: manifests that Kubernetes takes, that agree with themselves and the program, and that give nothing away."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

import edgeagent
from edgeagent.config import load_dispatcher
from edgeagent.config.addresses import split_address, split_broker_url
from edgeagent.dispatcher.service import client_id
from edgeagent.host.supervisor import CANCEL_TIMEOUT_S, DRAIN_TIMEOUT_S
from tests.fakes.manifests import (
    ARGO_EVENTS,
    ARGO_EVENTS_PUBSUB,
    DEPLOY,
    DISPATCHER,
    Document,
    documents,
    is_stale,
    parsed,
    sources,
    text_of,
    the,
)
from tests.fakes.pods import PAGE, configuration, container, created_by_hand, pod, settings

ROOT = Path(__file__).parents[2]
# Not in Kubernetes' own schemas: Argo Events' kinds have their tests in test_deploy_argo_events.py.
FOREIGN = frozenset({"EventSource", "Sensor"})
# The oldest Kubernetes for which the manifests are written, and the newest that the validator knows.
VERSIONS = ("1.29", kubernetes_validate.latest_version())
YAML = [name for name in sources() if name.endswith(".yaml")]

# With everything optional in force the comments that are left are sentences, lists and commands.
_SENTENCE = re.compile(r"^ *#(?: [^ ].*|   [^ ].*)?$")


# What Kubernetes says of it.


@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [DISPATCHER, ARGO_EVENTS, ARGO_EVENTS_PUBSUB])
def test_kubernetes_takes_every_document_and_knows_every_member(name: str, version: str, *, optional: bool) -> None:
    for document in documents(name, optional=optional):
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", [*YAML, ARGO_EVENTS, ARGO_EVENTS_PUBSUB])
def test_a_comment_is_a_sentence_or_yaml_that_can_be_put_into_force(name: str) -> None:
    """Otherwise what the tests put into force would not be all that the file offers."""
    in_force = text_of(name, optional=True)
    comments = [line for line in in_force.splitlines() if line.lstrip().startswith("#")]
    assert [line for line in comments if not _SENTENCE.match(line)] == []
    if in_force == text_of(name):
        return
    assert len(parsed(in_force)) >= len(parsed(text_of(name)))
    assert parsed(in_force) != parsed(text_of(name))


@pytest.mark.parametrize("name", [ARGO_EVENTS, ARGO_EVENTS_PUBSUB])
def test_there_is_no_secret_but_a_placeholder(name: str) -> None:
    (secret,) = [document for document in documents(name) if document["kind"] == "Secret"]
    assert "data" not in secret, "base64 hides from the eye what stands there"
    passwords = [value for key, value in secret["stringData"].items() if "password" in key or key == "key.json"]
    assert passwords == ["change-me"]


# The dispatcher's directory for kustomize.


@pytest.mark.parametrize("optional", [False, True])
def test_what_kustomize_makes_of_the_directory_is_what_the_tests_look_at(*, optional: bool) -> None:
    assert not is_stale(optional=optional), "run `python -m tests.fakes.manifests`, which needs kubectl"


def test_each_file_is_used_by_the_example_or_one_of_its_options() -> None:
    """What nothing names would be in no test."""
    used = {"kubernetes/example/kustomization.yaml"}
    for name in [each for each in YAML if each.endswith("/kustomization.yaml")]:
        (document,) = parsed(text_of(name, optional=True))
        files = [file for made in document.get("configMapGenerator", []) for file in made["files"]]
        for resource in [*document.get("resources", []), *document.get("components", []), *files]:
            found = (DEPLOY / name).parent.joinpath(resource).resolve()
            used.add(str((found / "kustomization.yaml" if found.is_dir() else found).relative_to(DEPLOY)))
    assert used == set(sources())


def test_the_dispatchers_secrets_are_in_no_file() -> None:
    assert not [document for document in documents(DISPATCHER, optional=True) if document["kind"] == "Secret"]
    assert created_by_hand().keys() == {("secret", "dispatcher"), ("configMap", "dispatcher-ca")}


def test_a_change_of_the_configuration_replaces_the_pods() -> None:
    """The ConfigMap's name has a digest of what is in it, and the pods refer to it by that name."""
    (made,) = [each["metadata"]["name"] for each in documents(DISPATCHER) if each["kind"] == "ConfigMap"]
    assert re.fullmatch(r"dispatcher-\w{10}", made)
    sources_of_pods = [source for volume in pod()["volumes"] for source in volume["projected"]["sources"]]
    assert made in [source["configMap"]["name"] for source in sources_of_pods if "configMap" in source]


# The dispatcher's pod.


def test_the_configuration_can_be_used_with_the_files_that_are_mounted(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    assert config.engine.kind == "argo"
    assert config.allow
    assert config.broker.password_file == str(tmp_path / "etc/edgeagent/broker.password")


def test_the_token_is_short_lived_replaced_in_time_and_one_for_the_api_server() -> None:
    assert pod()["automountServiceAccountToken"] is False
    (account,) = [document for document in documents(DISPATCHER) if document["kind"] == "ServiceAccount"]
    assert account["automountServiceAccountToken"] is False
    assert pod()["serviceAccountName"] == account["metadata"]["name"]
    sources = [source for volume in pod()["volumes"] for source in volume["projected"]["sources"]]
    (token,) = [source["serviceAccountToken"] for source in sources if "serviceAccountToken" in source]
    assert "audience" not in token
    assert 600 <= token["expirationSeconds"] <= 3600
    for mount in container()["volumeMounts"]:
        assert "subPath" not in mount, "Kubernetes does not replace a file that is mounted alone"
        assert mount["readOnly"] is True


def test_each_pod_has_a_client_id_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    assert config.broker.instance == "", "one instance for all would end the others' sessions"
    assert "hostNetwork" not in pod(), "the host's name would be the node's"
    state = the("StatefulSet", "dispatcher", DISPATCHER)["spec"]
    ids = {client_id(config, f"dispatcher-{ordinal}") for ordinal in range(state["replicas"])}
    assert ids == {"edgeagent-dispatch-dispatcher-0", "edgeagent-dispatch-dispatcher-1"}


def test_the_image_and_its_command_are_those_of_the_containerfile() -> None:
    recipe = (ROOT / "Containerfile").read_text("utf-8")
    built = re.search(r"podman build -t (\S+) \.", recipe)
    assert built is not None
    (unchanged,) = parsed(text_of("kubernetes/dispatcher/statefulset.yaml"))
    assert unchanged["spec"]["template"]["spec"]["containers"][0]["image"] == built[1]
    assert container()["image"] == f"registry.example/{built[1]}:{edgeagent.__version__}"
    assert "command" not in container(), "the image's entry point is the program"
    assert f"edgeagent {' '.join(container()['args'])}" in recipe
    assert f"USER {pod()['securityContext']['runAsUser']}:{pod()['securityContext']['runAsGroup']}" in recipe


def test_what_the_pods_are_selected_by_is_what_they_are_labelled_with() -> None:
    state = the("StatefulSet", "dispatcher", DISPATCHER)["spec"]
    labels = state["template"]["metadata"]["labels"]
    assert state["selector"]["matchLabels"] == labels
    assert the("Service", state["serviceName"], DISPATCHER)["spec"]["selector"] == labels
    assert the("Service", state["serviceName"], DISPATCHER)["spec"]["clusterIP"] == "None"
    assert the("NetworkPolicy", "dispatcher", DISPATCHER)["spec"]["podSelector"]["matchLabels"] == labels
    budget = the("PodDisruptionBudget", "dispatcher", DISPATCHER)["spec"]
    assert budget["selector"]["matchLabels"] == labels
    assert budget["maxUnavailable"] < state["replicas"]
    (spread,) = pod()["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels


def test_the_probes_ask_the_port_that_the_configuration_listens_on() -> None:
    host, port = split_address(settings()["http"]["listen"])
    assert host == "0.0.0.0", "the probes come from outside the pod"  # noqa: S104  it is what is looked for
    (named,) = container()["ports"]
    assert named["containerPort"] == port
    probes = {key: container()[key]["httpGet"] for key in ("livenessProbe", "readinessProbe")}
    assert probes == {
        "livenessProbe": {"path": "/healthz", "port": named["name"]},
        "readinessProbe": {"path": "/readyz", "port": named["name"]},
    }


def test_kubernetes_waits_longer_than_a_clean_stop_takes() -> None:
    leave_s = 5  # what taking leave of the broker may take
    assert pod()["terminationGracePeriodSeconds"] > DRAIN_TIMEOUT_S + leave_s + 2 * CANCEL_TIMEOUT_S


def test_the_network_lets_in_the_probes_and_out_to_what_the_configuration_names() -> None:
    policy = the("NetworkPolicy", "dispatcher", DISPATCHER)["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert ports(policy["ingress"]) == {("TCP", split_address(settings()["http"]["listen"])[1])}
    allowed = {("UDP", 53), ("TCP", 53), ("TCP", 8883), ("TCP", 1883), ("TCP", 2746)}
    assert ports(policy["egress"]) == allowed
    _, _, broker_port = split_broker_url(settings()["broker"]["url"])
    engine_port = int(settings()["engine"]["url"].rpartition(":")[2])
    assert {("TCP", broker_port), ("TCP", engine_port)} < allowed
    more = the("NetworkPolicy", "dispatcher", DISPATCHER, optional=True)["spec"]
    assert ports(more["egress"]) - allowed == {("TCP", 443), ("TCP", 6443)}
    assert ports(more["ingress"]) == ports(policy["ingress"])


def test_the_patches_on_the_page_open_what_the_network_and_the_secret_do_not() -> None:
    section = PAGE.partition("\n### What else it connects to\n")[2].partition("\n## ")[0]
    (made,) = re.findall(r"^```yaml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (document,) = parsed(made)
    network, secret = ((patch["target"], *patch["patch"]) for patch in map(with_operations, document["patches"]))
    listed = at(the(network[0]["kind"], network[0]["name"], DISPATCHER), network[1]["path"])
    assert ports([network[1]["value"]]) == {("TCP", 443), ("TCP", 4318)}
    assert not ports([network[1]["value"]]) & ports(listed)
    files = at(the(secret[0]["kind"], secret[0]["name"], DISPATCHER), secret[1]["path"])
    assert files == [{"key": "broker.password", "path": "broker.password"}]
    assert secret[1]["value"].keys() == files[0].keys()


def with_operations(patch: Document) -> Document:
    (operations,) = parsed(patch["patch"])
    return {**patch, "patch": operations}


def at(document: Document, path: str) -> list[Document]:
    """The list of a manifest to which an operation `add` appends."""
    found: Any = document
    for step in path.removeprefix("/").removesuffix("/-").split("/"):
        found = found[int(step) if isinstance(found, list) else step]
    assert isinstance(found, list)
    return found


def ports(rules: list[Document]) -> set[tuple[str, int]]:
    return {(port["protocol"], port["port"]) for rule in rules for port in rule["ports"]}


# What the pods may do on their node.


def test_nothing_runs_as_root_or_can_become_it() -> None:
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod().keys()
    namespace = the("Namespace", "edgeagent", DISPATCHER)["metadata"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


# The page for who runs it.


def test_each_policy_on_the_page_can_be_used_as_it_stands(tmp_path: Path) -> None:
    policies = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert policies
    file = tmp_path / "dispatch.toml"
    engine = '[engine]\nkind = "argo"\nurl = "https://argo-server.argo.svc:2746"\n'
    allow = '[[allow]]\nnamespaces = ["plant"]\ntemplates = ["*"]\n'
    for policy in policies:
        of_engine = policy.startswith("[engine]\n")
        text = policy.replace("[engine]\n", engine) + allow if of_engine else engine + policy
        file.write_text(text, "utf-8")
        assert load_dispatcher(file, {}).allow
