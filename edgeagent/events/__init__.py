"""Events: what devices report, in every form in which they report it, and which of them came before."""

from __future__ import annotations
