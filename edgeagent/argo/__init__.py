"""The Argo Server's REST interface: requests, answers, the watch. Knows nothing of triggers or MQTT."""

from __future__ import annotations
