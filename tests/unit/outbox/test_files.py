"""The real disk keeps the interface that the crash tests put a model behind."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from edgeagent.errors import StorageFailed
from edgeagent.outbox.files import Filesystem, OsFilesystem
from edgeagent.outbox.metering import DiskMeter, MeteredFilesystem
from tests.fakes.crash_filesystem import CrashFilesystem


@pytest.fixture(params=["real", "model", "metered"])
def filesystem(request: pytest.FixtureRequest) -> Filesystem:
    if request.param == "real":
        return OsFilesystem()
    if request.param == "metered":
        return MeteredFilesystem(OsFilesystem(), DiskMeter())
    return CrashFilesystem(Random(0))  # noqa: S311  chance for tests


@pytest.fixture
def directory(filesystem: Filesystem, tmp_path: Path) -> Path:
    made = tmp_path / "a" / "b"
    filesystem.make_directory(made)
    filesystem.make_directory(made)
    return made


def test_a_new_file_is_zeros_and_keeps_what_is_written(filesystem: Filesystem, directory: Path) -> None:
    file = filesystem.create(directory / "f", 100)
    assert file.size() == 100
    assert file.read_at(0, 1000) == bytes(100)
    file.write_at(98, b"1234")
    file.sync()
    assert (file.size(), file.read_at(96, 100), file.read_at(500, 1)) == (102, b"\0\x001234", b"")
    file.truncate(99)
    assert file.read_at(96, 100) == b"\0\x001"
    file.close()
    again = filesystem.open(directory / "f")
    assert again.read_at(98, 10) == b"1"
    again.close()


def test_a_file_is_not_made_twice(filesystem: Filesystem, directory: Path) -> None:
    filesystem.create(directory / "f", 10).close()
    with pytest.raises(StorageFailed, match="create"):
        filesystem.create(directory / "f", 10)
    assert filesystem.read(directory / "f") == bytes(10)


def test_a_small_file_is_replaced_whole(filesystem: Filesystem, directory: Path) -> None:
    for content in (b"first, and longer", b"second"):
        filesystem.replace(directory / "f", content)
        assert filesystem.read(directory / "f") == content
    assert filesystem.list(directory) == ["f"]


def test_names_are_listed_sorted_and_gone_when_removed(filesystem: Filesystem, directory: Path) -> None:
    for name in ("b", "a", "c"):
        filesystem.create(directory / name, 1).close()
    filesystem.remove(directory / "b")
    filesystem.remove(directory / "b")
    assert filesystem.list(directory) == ["a", "c"]
    assert filesystem.exists(directory / "a")
    assert not filesystem.exists(directory / "b")


@pytest.mark.parametrize("operation", ["open", "read", "list", "create", "replace"])
def test_what_the_disk_refuses_is_a_storage_failure_that_names_the_path(operation: str, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "f"
    arguments = {"create": (path, 1), "replace": (path, b"")}.get(operation, (path,))
    with pytest.raises(StorageFailed) as caught:
        getattr(OsFilesystem(), operation)(*arguments)
    assert caught.value.path == str(path)
    assert caught.value.reason == "No such file or directory"


def test_a_file_that_could_not_be_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed):
        OsFilesystem().create(tmp_path / "f", 1 << 62)
    assert list(tmp_path.iterdir()) == []


def test_files_are_for_the_agent_and_its_group_only(tmp_path: Path) -> None:
    filesystem = OsFilesystem()
    filesystem.make_directory(tmp_path / "d")
    filesystem.create(tmp_path / "d" / "f", 1).close()
    filesystem.replace(tmp_path / "d" / "g", b"")
    assert (tmp_path / "d").stat().st_mode & 0o777 & ~0o750 == 0
    for name in ("f", "g"):
        assert (tmp_path / "d" / name).stat().st_mode & 0o777 & ~0o640 == 0
