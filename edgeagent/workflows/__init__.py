"""Argo Workflows: what its validator and Kubernetes would refuse, found before it is sent (docs/validation.md)."""

from __future__ import annotations
