"""The fake Argo Server's model of workflows: what it refuses, selects, leaves out and counts, as the real one does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fakes.argo_rules import Fields, Json, Refusal, Selector
from tests.fakes.argo_store import MAX_OBJECT_BYTES, ArgoStore, Change, cleaned, cleaned_list

EVERYTHING = Selector("")
MAIN = {"name": "main", "container": {"image": "alpine"}}


def workflow(name: str = "a", **members: Any) -> Json:
    """A workflow that starts the template `inspect`; `members` are of its metadata."""
    return {"metadata": {"name": name, **members}, "spec": {"workflowTemplateRef": {"name": "inspect"}}}


def inline(**spec: Any) -> Json:
    """A workflow with a specification of its own."""
    return {"metadata": {"name": "a"}, "spec": {"entrypoint": "main", "templates": [MAIN], **spec}}


def parameters(*given: Json) -> Json:
    """An inline workflow with these parameters."""
    return inline(arguments={"parameters": list(given)})


@pytest.fixture
def clock() -> Iterator[datetime]:
    """Times a minute apart, the first at 11:00."""
    return (datetime(2026, 3, 20, 11, tzinfo=UTC) + timedelta(minutes=minute) for minute in range(100))


@pytest.fixture
def store(clock: Iterator[datetime]) -> ArgoStore:
    """A store whose namespace `plant` has the template `inspect`."""
    store = ArgoStore(now=lambda: next(clock))
    store.templates.add(("plant", "inspect"))
    return store


def create(store: ArgoStore, made: Json, **request: Any) -> Json:
    """Create it in `plant`."""
    return store.create("plant", {"namespace": "plant", "workflow": made, **request})


def test_a_created_workflow_has_an_identity_and_no_status_yet(store: ArgoStore) -> None:
    made = create(store, workflow(labels={"team": "heat"}))
    assert made["metadata"] == {
        "name": "a",
        "namespace": "plant",
        "labels": {"team": "heat"},
        "uid": made["metadata"]["uid"],
        "creationTimestamp": "2026-03-20T11:00:00Z",
        "generation": 1,
        "resourceVersion": str(store.version),
    }
    assert made["status"] == {"startedAt": None, "finishedAt": None}
    assert create(store, workflow("b"))["metadata"]["uid"] != made["metadata"]["uid"]


ARGO_REFUSES: list[tuple[Json, str]] = [
    (workflow("a" * 64), "must not be more than 63 characters long (currently 64)"),
    (inline(workflowTemplateRef={"name": "inspect"}), "templates is invalid field in spec"),
    (inline(entrypoint=None), "spec.entrypoint is required"),
    (inline(entrypoint="other"), "'other' undefined"),
    (inline(entrypoint=5), "json: cannot unmarshal number"),
    (inline(templates=[{"container": {}}]), "name is required"),
    (inline(templates=[MAIN, MAIN]), "'main' is not unique"),
    (inline(templates=[{**MAIN, "name": "ma in"}]), "is invalid"),
    (inline(templates=[{"name": "main"}]), "template type is unknown"),
    (inline(templates=[{**MAIN, "suspend": {}}]), "multiple template types"),
    (inline(templates=[{"name": "main", "steps": [{"name": "s", "template": "x"}]}]), "json: cannot unmarshal object"),
    (
        inline(templates=[{"name": "main", "steps": [[{"name": "s", "templateRef": {"name": "x", "template": "y"}}]]}]),
        "template reference x.y not found",
    ),
    (
        inline(
            templates=[
                {"name": "main", "dag": {"tasks": [{"name": "t", "templateRef": {"name": "x", "template": "y"}}]}}
            ]
        ),
        "template reference x.y not found",
    ),
    (parameters({"value": "1"}), "name is required"),
    (parameters({"name": "ä", "value": "1"}), "'ä' is invalid"),
    (parameters({"name": "x", "value": "1"}, {"name": "x", "value": "2"}), "'x' is not unique"),
    (parameters({"name": "x"}), "spec.arguments.x.value or spec.arguments.x.valueFrom is required"),
    (parameters({"name": "x", "value": None}), "spec.arguments.x.value or"),
    (workflow(labels={"a": 5}), "json: cannot unmarshal number"),
]
KUBERNETES_REFUSES: list[tuple[Json, str]] = [
    (workflow("Bad_Name"), "a lowercase RFC 1123 subdomain"),
    (workflow(""), "name or generateName is required"),
    (workflow("", generateName="-x"), "metadata.generateName"),
    (workflow(namespace="office"), "does not match the namespace sent on the request"),
    (workflow(labels={"team": "he at"}), "a valid label"),
    (workflow(labels={"team": "x" * 64}), "a valid label"),
    (workflow(labels={"-": "x"}), "name part"),
    (workflow(annotations={"a": "x" * (256 << 10)}), "Too long"),
]


@pytest.mark.parametrize(("made", "words"), [*ARGO_REFUSES, *KUBERNETES_REFUSES], ids=lambda value: str(value)[:60])
def test_what_argo_or_kubernetes_refuses_is_an_invalid_argument_and_is_not_there(
    store: ArgoStore, made: Json, words: str
) -> None:
    with pytest.raises(Refusal) as caught:
        create(store, made)
    assert (caught.value.status, caught.value.code) == (400, 3)
    assert words in caught.value.message
    assert store.all() == []


@pytest.mark.parametrize("made", [made for made, _ in ARGO_REFUSES], ids=lambda value: str(value)[:60])
def test_a_dry_run_refuses_what_argo_refuses(store: ArgoStore, made: Json) -> None:
    with pytest.raises(Refusal):
        create(store, made, createOptions={"dryRun": ["All"]})


@pytest.mark.parametrize("made", [made for made, _ in KUBERNETES_REFUSES], ids=lambda value: str(value)[:60])
def test_a_dry_run_never_reaches_kubernetes(store: ArgoStore, made: Json) -> None:
    create(store, made, createOptions={"dryRun": ["All"]})
    with pytest.raises(Refusal):
        create(store, made, serverDryRun=True)
    assert store.all() == []


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ({"name": "other"}, "workflowtemplates"),
        ({"name": "inspect", "clusterScope": True}, "clusterworkflowtemplates"),
    ],
)
def test_a_workflow_from_a_missing_template_is_not_found(store: ArgoStore, reference: Json, kind: str) -> None:
    with pytest.raises(Refusal) as caught:
        create(store, {"metadata": {"name": "a"}, "spec": {"workflowTemplateRef": reference}})
    assert (caught.value.status, caught.value.code) == (404, 5)
    assert caught.value.message == f'{kind}.argoproj.io "{reference["name"]}" not found'


def test_a_template_of_another_namespace_does_not_count_and_one_of_the_cluster_does(store: ArgoStore) -> None:
    with pytest.raises(Refusal):
        store.create("office", {"workflow": workflow()})
    store.templates.add(("", "inspect"))
    reference = {"name": "inspect", "clusterScope": True}
    store.create("office", {"workflow": {"metadata": {"name": "a"}, "spec": {"workflowTemplateRef": reference}}})
    assert store.find("office", "a")


def test_a_name_that_is_there_is_a_conflict(store: ArgoStore) -> None:
    create(store, workflow())
    with pytest.raises(Refusal) as caught:
        create(store, workflow(annotations={"other": "one"}))
    assert (caught.value.status, caught.value.code) == (409, 6)
    assert caught.value.message == 'workflows.argoproj.io "a" already exists'
    with pytest.raises(Refusal, match="not able to generate a unique name"):
        create(store, workflow(generateName="a-"))


def test_what_etcd_cannot_take_is_an_internal_error(store: ArgoStore) -> None:
    with pytest.raises(Refusal) as caught:
        store.create("plant", {"workflow": workflow()}, MAX_OBJECT_BYTES + 1)
    assert (caught.value.status, caught.value.message) == (500, "etcdserver: request is too large")


def test_a_generated_name_is_the_cut_base_and_five_characters(store: ArgoStore) -> None:
    made = [create(store, workflow("", generateName="x" * 60))["metadata"]["name"] for _ in range(3)]
    assert {len(name) for name in made} == {63}
    assert len(set(made)) == 3


def test_parameters_values_are_kept_as_texts_and_creator_labels_are_taken_away(store: ArgoStore) -> None:
    made = parameters({"name": "n", "value": 1.5}, {"name": "o", "value": {"a": [1]}}, {"name": "t", "value": "x"})
    made["metadata"]["labels"] = {"workflows.argoproj.io/creator": "me", "workflows.argoproj.io/creator-email": "x"}
    created = create(store, made)
    assert [given["value"] for given in created["spec"]["arguments"]["parameters"]] == ["1.5", '{"a":[1]}', "x"]
    assert created["metadata"]["labels"] == {}


def test_pages_go_from_the_newest_to_the_oldest_by_offsets(store: ArgoStore) -> None:
    for name in "abcde":
        create(store, workflow(name))
    store.create("office", {"workflow": {**inline(), "metadata": {"name": "elsewhere"}}})
    first = store.page("plant", EVERYTHING, 2, 0, counted=True)
    last = store.page("plant", EVERYTHING, 2, 4, counted=True)
    assert [item["metadata"]["name"] for item in first["items"]] == ["e", "d"]
    version = str(store.version)
    assert first["metadata"] == {"resourceVersion": version, "continue": "2", "remainingItemCount": 3}
    assert [item["metadata"]["name"] for item in last["items"]] == ["a"]
    assert last["metadata"] == {"resourceVersion": version, "remainingItemCount": 0}
    assert len(store.page("plant", EVERYTHING, 0, 0)["items"]) == 5
    assert store.page("nowhere", EVERYTHING, 2, 0)["items"] is None


def test_without_an_archive_a_list_that_does_not_ask_for_the_rest_is_not_told_of_it(store: ArgoStore) -> None:
    for name in "abc":
        create(store, workflow(name))
    assert "continue" not in store.page("plant", EVERYTHING, 2, 0)["metadata"]
    store.archives = True
    assert store.page("plant", EVERYTHING, 2, 0)["metadata"] == {
        "resourceVersion": str(store.version),
        "continue": "2",
    }


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", "abc"),
        ("edgeagent.io/agent", "ab"),
        ("!edgeagent.io/agent", "c"),
        ("edgeagent.io/agent=gw-1", "a"),
        ("edgeagent.io/agent==gw-1", "a"),
        ("edgeagent.io/agent!=gw-1", "bc"),
        ("edgeagent.io/agent in (gw-1, gw-2)", "ab"),
        ("edgeagent.io/agent notin (gw-2)", "ac"),
        ("edgeagent.io/agent, done != true", "b"),
        ("edgeagent.io/agent in (gw-1,gw-2),done", "a"),
    ],
)
def test_selectors_select_as_in_kubernetes(text: str, selected: str) -> None:
    labels: dict[str, Json | None] = {
        "a": {"edgeagent.io/agent": "gw-1", "done": "true"},
        "b": {"edgeagent.io/agent": "gw-2"},
        "c": None,
    }
    selector = Selector(text)
    assert "".join(name for name in labels if selector.selects({"metadata": {"labels": labels[name]}})) == selected


@pytest.mark.parametrize("text", ["a in gw-1", "=x", "a=(b)", "a b"])
def test_a_selector_that_cannot_be_read_is_an_invalid_argument(text: str) -> None:
    with pytest.raises(Refusal, match="unable to parse requirement"):
        Selector(text)


def test_fields_keep_what_is_named_and_every_parent_that_is_a_prefix_of_it() -> None:
    given = {"metadata": {"name": "a", "namespace": "plant", "uid": "u"}, "status": {"phase": "x"}, "stat": 1}
    assert Fields("metadata.namespace,status.phase").clean(given) == {
        "metadata": {"name": "a", "namespace": "plant"},  # `metadata.name` is a prefix of what is wanted
        "status": {"phase": "x"},
        "stat": 1,
    }
    assert Fields("-metadata.uid,status").clean(given) == {"metadata": {"name": "a", "namespace": "plant"}, "stat": 1}
    assert Fields("result.object.metadata.uid", "result.object.").clean(given) == {"metadata": {"uid": "u"}}


def test_what_go_always_writes_is_there_whatever_the_fields(store: ArgoStore) -> None:
    made = create(store, workflow())
    assert cleaned(made, Fields("metadata.name")) == {
        "metadata": {"creationTimestamp": None, "name": "a"},
        "spec": {"arguments": {}},
        "status": {"startedAt": None, "finishedAt": None},
    }


def test_a_list_keeps_its_own_metadata_only_when_it_is_asked_for(store: ArgoStore) -> None:
    create(store, workflow())
    page = store.page("plant", EVERYTHING, 0, 0)
    assert cleaned_list(page, Fields("items.metadata.name"))["metadata"] == {}
    assert cleaned_list(page, Fields("metadata,items.metadata.name"))["metadata"] == page["metadata"]
    assert cleaned_list(page, Fields("metadata"))["items"] is None


def test_a_run_gets_the_controllers_times_and_labels(store: ArgoStore) -> None:
    create(store, workflow())
    pending = store.advance("plant", "a", {"phase": "Pending"})
    assert pending["status"] == {"phase": "Pending", "progress": "0/0", "startedAt": None, "finishedAt": None}
    running = store.advance("plant", "a", {"phase": "Running", "progress": "0/1"})
    assert running["status"]["startedAt"] == "2026-03-20T11:01:00Z"
    assert running["metadata"]["labels"]["workflows.argoproj.io/completed"] == "false"
    store.advance("plant", "a", {"message": "half way"})
    failed = store.advance("plant", "a", {"phase": "Failed"})
    assert failed["metadata"]["labels"] == {
        "workflows.argoproj.io/phase": "Failed",
        "workflows.argoproj.io/completed": "true",
    }
    assert failed["status"] == {
        "phase": "Failed",
        "progress": "0/1",
        "message": "half way",
        "startedAt": "2026-03-20T11:01:00Z",
        "finishedAt": "2026-03-20T11:02:00Z",
    }
    assert pending["status"]["phase"] == "Pending", "who holds a state holds it as it was"


def test_a_retried_run_starts_later_and_has_not_finished(store: ArgoStore) -> None:
    create(store, workflow())
    failed = store.advance("plant", "a", {"phase": "Failed", "message": "broken"})
    again = store.advance("plant", "a", {"phase": "Running"})
    assert again["status"]["startedAt"] > failed["status"]["finishedAt"]
    assert again["status"]["finishedAt"] is None
    assert "message" not in again["status"]


def test_an_archived_workflow_is_found_by_get_and_in_lists_only_if_they_have_the_archive(store: ArgoStore) -> None:
    for name in "abc":
        create(store, workflow(name))
    store.archive("plant", "a", listed=False)
    store.archive("plant", "b", listed=True)
    assert [item["metadata"]["name"] for item in store.page("plant", EVERYTHING, 0, 0)["items"]] == ["c", "b"]
    assert [made["metadata"]["name"] for made in store.all()] == ["c"]
    assert store.get("plant", "a")["metadata"]["name"] == "a"
    store.delete("plant", "c")
    with pytest.raises(Refusal, match=r'workflows\.argoproj\.io "c" not found'):
        store.get("plant", "c")


def seen(changes: list[Change], labels: str = "") -> list[tuple[str, str]]:
    """What a watch of `plant` tells of these changes: type and phase."""
    told = [change.seen_by("plant", Selector(labels)) for change in changes]
    return [(kind, state["status"].get("phase", "")) for kind, state in filter(None, told)]


def test_a_watch_from_a_version_has_every_change_after_it(store: ArgoStore) -> None:
    create(store, workflow())
    version = store.version
    store.advance("plant", "a", {"phase": "Running"})
    store.create("office", {"workflow": {**inline(), "metadata": {"name": "elsewhere"}}})
    store.delete("plant", "a")
    assert seen(store.since(str(version))) == [("MODIFIED", "Running"), ("DELETED", "Running")]
    assert seen(store.since(str(store.version))) == []


@pytest.mark.parametrize("version", ["", "0"])
def test_a_watch_from_nowhere_begins_with_all_that_exists(store: ArgoStore, version: str) -> None:
    create(store, workflow("a"))
    store.advance("plant", "a", {"phase": "Running"})
    create(store, workflow("b"))
    create(store, workflow("c"))
    store.delete("plant", "c")
    assert seen(store.since(version)) == [("ADDED", "Running"), ("ADDED", "")]


def test_a_workflow_whose_labels_cease_to_fit_goes_from_a_watch_in_its_last_fitting_state(store: ArgoStore) -> None:
    create(store, workflow())
    version = store.version
    store.advance("plant", "a", {"phase": "Running"})
    store.advance("plant", "a", {"phase": "Succeeded"})
    store.advance("plant", "a", {"phase": "Running"})
    told = seen(store.since(str(version)), "workflows.argoproj.io/completed=false")
    assert told == [("ADDED", "Running"), ("DELETED", "Running"), ("ADDED", "Running")]


def test_forgotten_versions_are_too_old_and_the_next_list_gives_a_good_one(store: ArgoStore) -> None:
    create(store, workflow())
    version = store.version
    store.forget()
    with pytest.raises(Refusal, match="too old resource version") as caught:
        store.since(str(version))
    assert (caught.value.status, caught.value.code) == (400, 3)
    assert store.since(store.page("plant", EVERYTHING, 0, 0)["metadata"]["resourceVersion"]) == []
    with pytest.raises(Refusal, match="resourceVersion"):
        store.since("newest")


def test_a_resubmitted_workflow_is_another_one_with_the_labels_of_the_first(store: ArgoStore) -> None:
    store.templates.add(("plant", "inspect"))
    name = "overheat-" + "9f2c" * 8
    labels = {"edgeagent.io/agent": "gw-1"}
    first = store.create("plant", {"workflow": workflow(name, labels=labels, annotations={"a": "b"})})
    store.advance("plant", name, {"phase": "Failed"})
    copy = store.resubmit("plant", name)
    metadata = copy["metadata"]
    assert metadata["name"][:-5] == f"{name}-"
    assert metadata["labels"] == {**labels, "workflows.argoproj.io/resubmitted-from-workflow": name}
    assert metadata["annotations"] == {"a": "b"}
    assert metadata["uid"] != first["metadata"]["uid"]
    assert copy["spec"] == first["spec"]
    assert copy["status"] == {"startedAt": None, "finishedAt": None}
