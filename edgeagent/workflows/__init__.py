"""Argo Workflows: finds what its validator and Kubernetes would refuse, before it is sent (docs/validation.md)."""

from __future__ import annotations
