"""Which triggers wait for their data to be in the store, and when they go on."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest

from edgeagent.agent import uploading
from edgeagent.agent.uploading import RECHECK_S, Uploading, name_of
from edgeagent.common.units import Duration
from edgeagent.events.artifact import Artifact
from edgeagent.events.event import Record
from edgeagent.outbox.records import NORMAL, Leased
from edgeagent.ports.artifacts import Turn, UploadProgress, UploadState
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.spec import RuleSpec, Window

ARTIFACT = Artifact("ab" * 32, 1000, "image/jpeg")
OTHER = Artifact("cd" * 32, 1000, "image/jpeg")


class Store:
    """`Uploads` as a test says."""

    def __init__(self) -> None:
        self.states: dict[str, UploadState] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.turns: dict[str, Turn] = {}
        self.left: list[str] = []
        self.forgotten: list[str] = []

    def want(self, name: str, artifact: Artifact, path: str, turn: Turn = Turn.NORMAL) -> bool:
        """See `Uploads`."""
        assert path == f"/spool/{artifact.sha256}"
        if self.artifacts.setdefault(name, artifact) != artifact:
            self.artifacts[name] = artifact
            self.states.pop(name)
        self.turns[name] = turn
        return self.states.setdefault(name, UploadState.WAITING) is UploadState.DONE

    def progress(self, name: str) -> UploadProgress | None:
        """See `Uploads`."""
        state = self.states.get(name)
        return None if state is None else UploadProgress(state, 0, 1000, "too large\nfor it")

    def url(self, name: str) -> str:
        """See `Uploads`."""
        return f"https://store.example/{name}"

    def leave(self, name: str) -> None:
        """See `Uploads`."""
        self.left.append(name)
        self.states.pop(name, None)

    def forget(self, name: str) -> None:
        """See `Uploads`."""
        self.forgotten.append(name)
        self.states.pop(name, None)
        self.artifacts.pop(name, None)


class Scene:
    """An `Uploading` over a store, and rules of both orders."""

    def __init__(self) -> None:
        self.store = Store()
        self.woken = 0
        self.uploading = Uploading(self.store, lambda artifact: f"/spool/{artifact.sha256}")
        self.uploading.more_to_send = self._wake
        spec = RuleSpec("frame", "plant", template="inspect")
        self.rule = Rule(spec)
        self.strict = Rule(msgspec.structs.replace(spec, order="strict"))
        self._seq = 0

    def _wake(self) -> None:
        self.woken += 1

    def leased(
        self, event_id: str, *, large: bool = True, source: str = "cam-1", artifact: Artifact = ARTIFACT
    ) -> Leased:
        """A trigger of an event, with large data or without."""
        self._seq += 1
        data = b'{"size":1000}' if large else b"{}"
        record = Record("gw", source, event_id, "event", "now", data, True, ("frame",), 0, 0)
        record = msgspec.structs.replace(record, artifact=artifact if large else None)
        return Leased(NORMAL, self._seq, "frame", record, b"")

    def end(self, leased: Leased, state: UploadState = UploadState.DONE) -> None:
        """The upload of its data ends."""
        self.store.states[name_of(leased.record)] = state
        self.uploading.ended(name_of(leased.record))

    def ready(self, most: int = 100) -> list[str]:
        """The ids of the events that go on."""
        return [leased.record.id for leased in self.uploading.ready(most)]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_large_data_waits_for_its_upload_and_small_data_does_not(scene: Scene) -> None:
    large, small = scene.leased("a"), scene.leased("b", large=False)
    assert scene.uploading.take(large, scene.rule)
    assert not scene.uploading.take(small, scene.rule)
    assert (len(scene.uploading), scene.ready()) == (1, [])
    scene.end(large)
    assert scene.woken == 1
    assert (len(scene.uploading), scene.ready(), scene.ready()) == (0, ["a"], [])


def test_data_that_is_in_the_store_does_not_wait(scene: Scene) -> None:
    large = scene.leased("a")
    scene.store.states[name_of(large.record)] = UploadState.DONE
    assert not scene.uploading.take(large, scene.rule)


def test_all_triggers_of_an_event_wait_for_its_one_upload_which_is_wanted_until_the_last_has_ended(
    scene: Scene,
) -> None:
    one, other = scene.leased("a"), scene.leased("a")
    name = name_of(one.record)
    assert [scene.uploading.take(each, scene.rule) for each in (one, other)] == [True, True]
    scene.end(one)
    assert scene.ready(1) == ["a"]
    assert scene.ready() == ["a"]
    scene.uploading.left(one, for_good=True)
    assert scene.store.forgotten == []
    scene.uploading.left(other, for_good=True)
    assert scene.store.forgotten == [name]


@pytest.mark.parametrize("is_strict", [False, True])
def test_an_id_that_is_used_again_for_other_data_gets_the_object_when_nobody_needs_the_first_data(
    scene: Scene, is_strict: bool
) -> None:
    rule = scene.strict if is_strict else scene.rule
    first, again = scene.leased("a"), scene.leased("a", artifact=OTHER)
    name = name_of(first.record)
    assert name == name_of(again.record)
    for leased in (first, again):
        assert scene.uploading.take(leased, rule)
    scene.end(first)
    assert (scene.ready(), len(scene.uploading), scene.store.artifacts) == (["a"], 1, {name: ARTIFACT})
    assert scene.uploading.is_there(first)
    assert (scene.uploading.is_there(again), scene.uploading.is_stored(again)) == (False, False)
    scene.uploading.left(first, for_good=True)
    assert (scene.ready(), scene.store.artifacts, scene.store.forgotten) == ([], {name: OTHER}, [])
    scene.end(again)
    assert (scene.ready(), scene.uploading.is_there(again)) == (["a"], True)
    scene.uploading.left(again, for_good=True)
    assert scene.store.forgotten == [name]


def test_a_trigger_whose_data_is_not_there_waits_again(scene: Scene) -> None:
    large = scene.leased("a")
    scene.uploading.join(large)  # it seemed to be too old, for example
    assert not scene.uploading.is_there(large)
    scene.uploading.put_back(large, scene.rule)
    assert (scene.ready(), len(scene.uploading)) == ([], 1)
    scene.end(large)
    assert (scene.ready(), scene.uploading.is_there(large)) == (["a"], True)
    scene.uploading.left(large, for_good=True)
    assert scene.store.forgotten == [name_of(large.record)]


def test_what_is_parked_is_still_wanted(scene: Scene) -> None:
    large = scene.leased("a")
    scene.uploading.take(large, scene.rule)
    scene.uploading.left(large, for_good=False)
    assert scene.store.forgotten == []


def test_nothing_of_a_strict_order_overtakes_large_data_of_its_source(scene: Scene) -> None:
    first, small, second = scene.leased("a"), scene.leased("b", large=False), scene.leased("c")
    for leased in (first, small, second):
        assert scene.uploading.take(leased, scene.strict)
    assert not scene.uploading.take(scene.leased("d", large=False, source="cam-2"), scene.strict)
    scene.end(second)
    assert scene.ready() == []
    scene.end(first)
    assert scene.ready() == ["a", "b", "c"]
    assert not scene.uploading.take(scene.leased("e", large=False), scene.strict)
    assert len(scene.uploading) == 0


def test_data_that_can_never_be_there_goes_on_to_be_given_up_whenever_that_is_known(scene: Scene) -> None:
    large = scene.leased("a")
    scene.uploading.take(large, scene.rule)
    scene.end(large, UploadState.REFUSED)
    assert scene.ready() == ["a"]
    reason = "its data cannot be put into the store: too large for it"
    assert scene.uploading.refusal(large) == reason
    again = scene.leased("a")  # of another rule, leased later
    assert scene.uploading.take(again, scene.rule)
    assert scene.ready() == ["a"]
    assert scene.uploading.refusal(scene.leased("b", large=False)) == ""


def test_what_is_too_old_does_not_wait_for_a_store_that_is_away(scene: Scene) -> None:
    large, strict, behind = scene.leased("a"), scene.leased("b"), scene.leased("c", large=False)
    scene.uploading.take(large, scene.rule)
    for leased in (strict, behind):
        scene.uploading.take(leased, scene.strict)
    over: list[str] = []

    def is_over(leased: Leased) -> bool:
        return leased.record.id in over

    scene.uploading.recheck(100.0, is_over)
    assert scene.uploading.recheck_at == 100.0 + RECHECK_S
    over += ["a", "b"]
    scene.uploading.recheck(101.0, is_over)
    assert scene.ready() == []
    scene.uploading.recheck(100.0 + RECHECK_S, is_over)
    assert scene.ready() == ["a", "b", "c"]
    assert scene.uploading.recheck_at is None


def test_the_claim_is_what_the_rule_sees_as_the_body(scene: Scene) -> None:
    large = scene.leased("a")
    claimed = scene.uploading.claimed(large, scene.rule)
    claim = {
        "url": "https://store.example/gw/cam-1/1970-01-01/a",
        "size": 1000,
        "sha256": "ab" * 32,
        "contentType": "image/jpeg",
    }
    assert (claimed.seq, json.loads(claimed.record.data)) == (large.seq, claim)
    windowed = Rule(RuleSpec("frame", "plant", template="inspect", window=Window(Duration(5))))
    alone = scene.uploading.claimed(large, windowed).record
    assert (json.loads(alone.data), alone.events) == ([claim], ("a",))


def test_the_statistics_name_the_uploads_under_way_first_and_not_all(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "_MAX_SHOWN", 2)
    waiting: Sequence[Leased] = [scene.leased(name) for name in "abc"]
    for leased in waiting:
        scene.uploading.take(leased, scene.rule)
    scene.store.states[name_of(waiting[2].record)] = UploadState.SENDING
    assert [each["name"].rpartition("/")[2] for each in scene.uploading.shown()] == ["c", "a"]


def test_there_is_a_bound_to_what_waits(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "MAX_WAITING", 1)
    assert not scene.uploading.is_full
    scene.uploading.take(scene.leased("a"), scene.rule)
    assert scene.uploading.is_full
