"""The Argo Server's REST interface: requests, answers and watches. It is independent of triggers and MQTT."""

from __future__ import annotations
