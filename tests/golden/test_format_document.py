"""docs/format.md is true: who reads by its tables reads the golden files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import msgspec
import pytest

from edgeagent.events.artifact import Artifact
from edgeagent.events.event import Record
from edgeagent.outbox.cursor import SLOT_BYTES, Checkpoint, LogState
from edgeagent.outbox.firingsfile import _Content as FiringsContent
from edgeagent.outbox.frame import HEADER_BYTES, Batch, FrameKind, SegmentHeader
from edgeagent.outbox.recent import Delivery, _Content
from edgeagent.outbox.records import LOGS, Armed, Moved
from edgeagent.rules.firings import Firing
from tests.golden.vectors import CURSOR_VERSIONS, DOCUMENT, HERE, SEGMENT_VERSIONS, SIDE_VERSIONS, golden


def tables() -> Iterator[tuple[str, list[list[str]]]]:
    """The tables of the document: the heading of the column that names fields or members, and the rows."""
    lines = DOCUMENT.read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("|---"):
            heading = cells(lines[number - 1])
            rows = []
            for row in lines[number + 1 :]:
                if not row.startswith("|"):
                    break
                rows.append(cells(row))
            yield heading[1 if heading[0] == "member" else 2 if heading[0] == "offset" else 0], rows


def cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


TABLES = dict(tables())
COLUMNS = (("sizes", 4), ("crcs", 4), ("counts", 2), ("kinds", 1))
STRUCTS: dict[str, Any] = {
    "Record": Record,
    "Artifact": Artifact,
    "Moved": Moved,
    "Batch": Batch,
    "Checkpoint": Checkpoint,
    "LogState": LogState,
    "Recent": _Content,
    "Delivery": Delivery,
    "Armed": Armed,
    "Firings": FiringsContent,
    "Firing": Firing,
}


@pytest.mark.parametrize("name", STRUCTS)
def test_the_document_names_every_member_in_its_place(name: str) -> None:
    rows = TABLES[name]
    assert [int(row[0]) for row in rows] == list(range(len(rows)))
    assert [row[1] for row in rows] == list(STRUCTS[name].__struct_fields__)


def fields(table: str, data: bytes) -> dict[str, int | bytes]:
    """Read the bytes by a table of the document: integers up to 8 bytes, else bytes."""
    result: dict[str, int | bytes] = {}
    end = 0
    for offset, size, name, *_ in TABLES[table]:
        assert measured(offset, result) == end, f"{table}: the rows do not follow each other"
        length = measured(size, result)
        part = data[end : end + length]
        end += length
        if name:
            is_number = length <= 8 and name not in {"magic", "sizes", "crcs", "counts", "kinds"}
            result[name] = int.from_bytes(part, "little") if is_number else part
        else:
            assert not any(part)
    return result | {"end": end}


def measured(text: str, known: dict[str, int | bytes]) -> int:
    """A number of bytes as the document writes it: `20`, `20+4n` or the name of a field."""
    total = 0
    for part in text.split("+"):
        if part.endswith("n") and part != "n" and part[:-1].isdecimal():
            total += int(part[:-1]) * int(known["frames"])
        else:
            total += int(part) if part.isdecimal() else int(known[{"n": "frames"}.get(part, part)])
    return total


def numbers(data: bytes, size: int) -> list[int]:
    return [int.from_bytes(data[start : start + size], "little") for start in range(0, len(data), size)]


def padded(size: int) -> int:
    return -(-size // 8) * 8


SEGMENT = [(1, 0, 2), (1, 2, 1), (3, 1, 1), (4, 0, 2), (4, 1, 1)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((f"segment-{version}.bin", SEGMENT) for version in SEGMENT_VERSIONS),
        *((f"armed-segment-{version}.bin", [(1, 0, 2), (1, 2, 1), (3, 0, 4), (3, 1, 1)]) for version in SIDE_VERSIONS),
        *((f"windows-segment-{version}.bin", [(1, 0, 2), (1, 1, 3)]) for version in SIDE_VERSIONS),
    ],
)
def test_who_reads_by_the_document_reads_the_golden_segment(name: str, expected: list[tuple[int, int, int]]) -> None:
    data = golden(name)
    header = fields("header field", data)
    assert header["end"] == HEADER_BYTES == header["header_bytes"]
    assert header["magic"] == b"\x8bEDGELOG"
    assert header["crc"] == crc32(data[:92])
    known = SegmentHeader.decode(data)
    assert known is not None
    assert msgspec.structs.asdict(known) == {name: header[name] for name in known.__struct_fields__}
    found, offset = [], HEADER_BYTES
    while any(data[offset:]):
        index = fields("index field", data[offset:])
        size = int(index["end"])
        assert index["crc"] == crc32(data[offset + 4 : offset + size], int(header["salt"]))
        payload, seq = offset + padded(size), int(index["seq"])
        columns = (numbers(bytes(index[name]), bytes_each) for name, bytes_each in COLUMNS)
        for length, crc, triggers, kind in zip(*columns, strict=True):
            assert {row[0] for row in TABLES["kind"]} >= {str(kind)}
            assert crc32(data[payload : payload + length]) == crc
            found.append((seq, triggers, kind))
            payload, seq = payload + length, seq + triggers
        end = payload = padded(payload)
        if int(index["frames"]) > 2:
            end += padded(size)
            assert data[payload + 4 : end] == data[offset + 4 : offset + padded(size)]
            complement = int(header["salt"]) ^ 0xFFFFFFFF
            assert numbers(data[payload : payload + 4], 4) == [crc32(data[offset + 4 : offset + size], complement)]
        offset = end
    assert found == expected


@pytest.mark.parametrize("version", CURSOR_VERSIONS)
def test_who_reads_by_the_document_reads_the_golden_cursor(version: str) -> None:
    data = golden(f"cursor-{version}.bin")
    slot = fields("slot field", data)
    assert slot["magic"] == b"EDGECUR1"
    assert slot["end"] == len(data)
    assert slot["crc"] == crc32(bytes(slot["payload"]))
    assert f"Two slots of {SLOT_BYTES} bytes" in DOCUMENT.read_text("utf-8")


def test_the_document_names_every_kind_log_and_golden_file() -> None:
    assert [(int(row[0]), row[1].upper()) for row in TABLES["kind"]] == [(kind.value, kind.name) for kind in FrameKind]
    paths = [row[0] for row in TABLES["path"]]
    files = {"outbox/cursor", "outbox/recent", "outbox/firings", "outbox/rates"}
    assert {f"outbox/{log}/*.seg" for log in LOGS} | files <= set(paths)
    named = set(re.findall(r"[a-z-]+-v1(?:\.\d)?\.bin", DOCUMENT.read_text("utf-8")))
    assert named <= {path.name for path in HERE.iterdir()}
