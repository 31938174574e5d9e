"""Argo Workflows: what its validator and Kubernetes would refuse, told before anything is sent (docs/validation.md)."""

from __future__ import annotations
