"""deploy/: manifests that Kubernetes takes, that agree with themselves and the program, and that give nothing away."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest
import tomli

import edgeagent
from edgeagent.config import load_dispatcher
from edgeagent.config.addresses import split_address, split_broker_url
from edgeagent.config.tables import DispatcherConfig
from edgeagent.dispatcher.service import client_id
from edgeagent.host.supervisor import CANCEL_TIMEOUT_S, DRAIN_TIMEOUT_S
from tests.fakes.manifests import ARGO_EVENTS, ARGO_EVENTS_PUBSUB, DISPATCHER, Document, documents, text_of, the

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "dispatcher.md").read_text("utf-8")
# Not in Kubernetes' own schemas: Argo Events' kinds have their tests in test_deploy_argo_events.py.
FOREIGN = frozenset({"EventSource", "Sensor"})
# The oldest Kubernetes for which the manifests are written, and the newest that the validator knows.
VERSIONS = ("1.29", kubernetes_validate.latest_version())

# With everything optional in force the comments that are left are sentences, lists and commands.
_SENTENCE = re.compile(r"^ *#(?: [^ ].*|   [^ ].*)?$")


def pod() -> Document:
    """The pod of the StatefulSet: its specification."""
    spec: Document = the("StatefulSet", "dispatcher", DISPATCHER)["spec"]["template"]["spec"]
    return spec


def container() -> Document:
    (only,) = pod()["containers"]
    assert isinstance(only, dict)
    return only


def settings() -> Document:
    return tomli.loads(the("ConfigMap", "dispatcher", DISPATCHER)["data"]["dispatch.toml"])


def mounted(root: Path) -> None:
    """The files of the pod, below `root`."""
    places = {mount["name"]: root / mount["mountPath"].lstrip("/") for mount in container()["volumeMounts"]}
    assert len(places) == len(pod()["volumes"])
    for volume in pod()["volumes"]:
        directory = places[volume["name"]]
        directory.mkdir(parents=True)
        for source in volume["projected"]["sources"]:
            for name, text in files_of(source):
                assert not (directory / name).exists()
                (directory / name).write_text(text, "utf-8")


def files_of(source: Document) -> Iterator[tuple[str, str]]:
    ((kind, what),) = source.items()
    if kind == "serviceAccountToken":
        yield what["path"], "token"
        return
    if what["name"] == "kube-root-ca.crt":  # Kubernetes puts it into every namespace
        data = {"ca.crt": "certificate"}
    else:
        document = the({"configMap": "ConfigMap", "secret": "Secret"}[kind], what["name"], DISPATCHER)
        data = document.get("data") or document["stringData"]
    for item in what["items"]:
        yield item["path"], data[item["key"]]


def configuration(root: Path) -> DispatcherConfig:
    """The configuration as the program in the container reads it."""
    mounted(root)
    program = container()["args"]
    file = root / program[program.index("-c") + 1].lstrip("/")
    # The only absolute names are those of files.
    file.write_text(re.sub(r'^(\w+_file = ")/', rf"\1{root}/", file.read_text("utf-8"), flags=re.MULTILINE), "utf-8")
    return load_dispatcher(file, {})


# What Kubernetes says of it.


@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [DISPATCHER, ARGO_EVENTS, ARGO_EVENTS_PUBSUB])
def test_kubernetes_takes_every_document_and_knows_every_member(name: str, version: str, *, optional: bool) -> None:
    for document in documents(name, optional=optional):
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", [DISPATCHER, ARGO_EVENTS, ARGO_EVENTS_PUBSUB])
def test_a_comment_is_a_sentence_or_yaml_that_can_be_put_into_force(name: str) -> None:
    """Otherwise what the tests put into force would not be all that the file offers."""
    comments = [line for line in text_of(name, optional=True).splitlines() if line.lstrip().startswith("#")]
    assert [line for line in comments if not _SENTENCE.match(line)] == []
    assert len(documents(name, optional=True)) >= len(documents(name))
    assert documents(name, optional=True) != documents(name)


@pytest.mark.parametrize("name", [DISPATCHER, ARGO_EVENTS, ARGO_EVENTS_PUBSUB])
def test_there_is_no_secret_but_a_placeholder(name: str) -> None:
    (secret,) = [document for document in documents(name) if document["kind"] == "Secret"]
    assert "data" not in secret, "base64 hides from the eye what stands there"
    passwords = [value for key, value in secret["stringData"].items() if "password" in key or key == "key.json"]
    assert passwords == ["change-me"]


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
    assert container()["image"] == f"{built[1]}:{edgeagent.__version__}"
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


def ports(rules: list[Document]) -> set[tuple[str, int]]:
    return {(port["protocol"], port["port"]) for rule in rules for port in rule["ports"]}


# Who may do what.


@pytest.mark.parametrize(
    ("name", "optional", "allowed"),
    [
        (
            DISPATCHER,
            False,
            {"workflows": ["create", "get", "list", "watch"], "workflowtemplates": ["get"]},
        ),
        (
            DISPATCHER,
            True,
            {
                "workflows": ["create", "get", "list", "watch"],
                "workflowtemplates": ["get"],
                "clusterworkflowtemplates": ["get"],
                "configmaps": ["create", "patch"],
            },
        ),
        (ARGO_EVENTS, True, {"workflows": ["create"]}),
        (ARGO_EVENTS_PUBSUB, True, {"workflows": ["create"]}),
    ],
)
def test_an_account_may_do_what_it_needs_and_nothing_else(
    name: str, allowed: dict[str, list[str]], *, optional: bool
) -> None:
    granted: dict[str, list[str]] = {}
    for document in documents(name, optional=optional):
        for rule in document.get("rules", []):
            assert rule.keys() == {"apiGroups", "resources", "verbs"}
            (resource,) = rule["resources"]
            assert rule["apiGroups"] == ([""] if resource == "configmaps" else ["argoproj.io"])
            assert resource not in granted
            granted[resource] = sorted(rule["verbs"])
            assert document["kind"] == ("ClusterRole" if resource.startswith("cluster") else "Role")
    assert granted == allowed


@pytest.mark.parametrize("name", [DISPATCHER, ARGO_EVENTS, ARGO_EVENTS_PUBSUB])
def test_every_role_is_bound_in_its_namespace_to_the_account_of_the_pods(name: str) -> None:
    everything = documents(name, optional=True)
    (account,) = [document["metadata"] for document in everything if document["kind"] == "ServiceAccount"]
    roles = [document for document in everything if document["kind"] in {"Role", "ClusterRole"}]
    bindings = [document for document in everything if document["kind"].endswith("RoleBinding")]
    assert len(roles) == len(bindings)
    for role, binding in itertools.product(roles, bindings):
        if role["metadata"]["name"] != binding["roleRef"]["name"]:
            continue
        assert binding["kind"] == f"{role['kind']}Binding"
        assert binding["roleRef"]["kind"] == role["kind"]
        assert binding["metadata"] == role["metadata"]
        subject = {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
        assert binding["subjects"] == [subject]
    assert {role["metadata"]["name"] for role in roles} == {binding["roleRef"]["name"] for binding in bindings}


def test_each_namespace_that_is_allowed_or_watched_has_its_role(tmp_path: Path) -> None:
    roles = [document["metadata"] for document in documents(DISPATCHER) if document["kind"] == "Role"]
    assert tuple(sorted(role["namespace"] for role in roles)) == configuration(tmp_path).watched_namespaces


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


def test_the_page_and_the_manifest_tell_the_same_rights() -> None:
    granted = {
        (resource, *sorted(rule["verbs"]))
        for document in documents(DISPATCHER, optional=True)
        for rule in document.get("rules", [])
        for resource in rule["resources"]
    }
    section = PAGE.partition("## RBAC")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z]+)(?:\.argoproj\.io)?`[^|]*\| ([a-z`, ]+) \|", section, re.MULTILINE)
    assert {(resource, *sorted(re.findall(r"[a-z]+", verbs))) for resource, verbs in rows} == granted
