"""Languages of others that edgeagent speaks: each a room of its own, which knows nothing of events and rules."""

from __future__ import annotations
