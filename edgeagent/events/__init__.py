"""Events: what devices report, in every form in which they report it, and which events were seen before."""

from __future__ import annotations
