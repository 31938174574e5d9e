"""The pods of the dispatcher, as its manifests describe them, and the files that they see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import tomli

from edgeagent.config import load_dispatcher
from edgeagent.config.tables import DispatcherConfig
from tests.fakes.manifests import DISPATCHER, Document, documents, the

PAGE = (Path(__file__).parents[2] / "docs" / "dispatcher.md").read_text("utf-8")


def pod() -> Document:
    """The pod of the StatefulSet: its specification."""
    spec: Document = the("StatefulSet", "dispatcher", DISPATCHER)["spec"]["template"]["spec"]
    return spec


def container() -> Document:
    """Its one container."""
    (only,) = pod()["containers"]
    assert isinstance(only, dict)
    return only


def settings() -> Document:
    """Its configuration, as the tables that are written in it."""
    (text,) = [each["data"]["dispatch.toml"] for each in documents(DISPATCHER) if each["kind"] == "ConfigMap"]
    return tomli.loads(text)


def mounted(root: Path) -> None:
    """The files of the pod, below `root`."""
    places = {mount["name"]: root / mount["mountPath"].lstrip("/") for mount in container()["volumeMounts"]}
    assert len(places) == len(pod()["volumes"])
    for volume in pod()["volumes"]:
        directory = places[volume["name"]]
        directory.mkdir(parents=True)
        for source in volume["projected"]["sources"]:
            for name, text in _files_of(source):
                assert not (directory / name).exists()
                (directory / name).write_text(text, "utf-8")


def _files_of(source: Document) -> Iterator[tuple[str, str]]:
    ((kind, what),) = source.items()
    if kind == "serviceAccountToken":
        yield what["path"], "token"
        return
    if what["name"] == "kube-root-ca.crt":  # Kubernetes puts it into every namespace
        data = {"ca.crt": "certificate"}
    elif (kind, what["name"]) in created_by_hand():
        data = dict.fromkeys(created_by_hand()[kind, what["name"]], "its content")
    else:
        data = the("ConfigMap", what["name"], DISPATCHER)["data"]
    for item in what["items"]:
        yield item["path"], data[item["key"]]


def created_by_hand() -> dict[tuple[str, str], list[str]]:
    """The keys of what the page's commands create, by the kind and the name of the object."""
    command = r"kubectl -n edgeagent create (secret generic|configmap) (\S+)((?:[ \\\n]+--from-file=\S+)+)"
    return {
        ("configMap" if kind == "configmap" else "secret", name): re.findall(r"--from-file=(\S+)", files)
        for kind, name, files in re.findall(command, PAGE)
    }


def configuration(root: Path) -> DispatcherConfig:
    """The configuration as the program in the container reads it."""
    mounted(root)
    program = container()["args"]
    file = root / program[program.index("-c") + 1].lstrip("/")
    # The only absolute names are those of files.
    file.write_text(re.sub(r'^(\w+_file = ")/', rf"\1{root}/", file.read_text("utf-8"), flags=re.MULTILINE), "utf-8")
    return load_dispatcher(file, {})
