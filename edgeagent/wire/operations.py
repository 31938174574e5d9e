"""What may be done to a workflow by a message (contract section 15)."""

from __future__ import annotations

from typing import Literal, get_args

Operation = Literal["stop", "terminate", "suspend", "resume", "retry", "resubmit", "delete", "get", "list"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
