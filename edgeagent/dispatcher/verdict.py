"""What an error of the engine means for a trigger (the table of contract section 7). Pure.

Each detail begins with advice for a person and ends with the engine's own words, so that a long one is cut at the end.
"""

from __future__ import annotations

import re

from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.outcome import EngineForbade, Invalid, Missing, Outcome, Overloaded, TooLarge
from edgeagent.errors import EngineRefused, EngineUnavailable

UNAUTHORIZED = 401
FORBIDDEN = 403
CONFLICT = 409
_INVALID = 400
_MISSING = 404
_TOO_LARGE = 413

# Used if an unavailable engine does not say how long it will be. The gate probes at least this often.
RETRY_AFTER_S = 30.0

# Kubernetes' limits arrive with other codes: etcd's as a 500, the API server's 413 as Argo's 400.
_TOO_LARGE_TEXT = re.compile(
    r"request (?:entity )?(?:is )?too large|trying to send message larger than max", re.IGNORECASE
)
# A template that refers to a missing one gets Argo's 400, although that one may be created a minute later.
_MISSING_TEMPLATE_TEXT = re.compile(
    r'template reference \S+ not found|workflowtemplates\.argoproj\.io "[^"]*" not found'
)
_MISSING_NAMESPACE_TEXT = re.compile(r'namespaces? "[^"]*" not found')
_QUOTA_TEXT = re.compile(r"exceeded quota", re.IGNORECASE)
_RIGHTS_TEXT = re.compile(r'cannot \w+ resource "?([\w./]+)"?', re.IGNORECASE)


def verdict(error: EngineRefused | EngineUnavailable, order: Order) -> Outcome | None:
    """The outcome for the order; None if it gets no answer, because the engine refused our credentials (401).

    `Overloaded` means that the order is worth holding for a while. It also stands for every answer that a working
    engine would not give, such as an unexpected status or a login page from a proxy.
    """
    if isinstance(error, EngineUnavailable):
        return _not_available(error)
    if error.status == UNAUTHORIZED:
        return None
    return _refused(error.status, " ".join(error.message.split()), order)


def _refused(status: int, said: str, order: Order) -> Outcome:
    if status == _TOO_LARGE or (status == _INVALID and _TOO_LARGE_TEXT.search(said)):
        return _too_large(said)
    if status == _MISSING or (status == _INVALID and _MISSING_TEMPLATE_TEXT.search(said)):
        return _missing(said, order)
    if status == _INVALID:
        return Invalid(said)
    if status == FORBIDDEN:
        return _forbidden(said, order)
    advice = "the answer is not a workflow engine's: check the dispatcher's engine.url and any proxy in front of it"
    return Overloaded(f"{advice}. It said {status}: {said}", RETRY_AFTER_S)


def _not_available(error: EngineUnavailable) -> Outcome:
    said = " ".join(error.reason.split())
    if _TOO_LARGE_TEXT.search(said):
        return _too_large(said)
    advice = "the workflow engine does not answer at the moment: the trigger is to be tried again"
    return Overloaded(f"{advice}. {said}", error.retry_after_s or RETRY_AFTER_S)


def _too_large(said: str) -> TooLarge:
    return TooLarge(f"shorten the parameters, or send large data by reference. The engine said: {said}")


def _missing(said: str, order: Order) -> Missing:
    if _MISSING_NAMESPACE_TEXT.search(said):
        advice = f"namespace {order.namespace!r} does not exist: create it"
    elif order.template and f'"{order.template}" not found' in said:
        if order.cluster_scope:
            advice = f"ClusterWorkflowTemplate {order.template!r} does not exist: create it"
        else:
            advice = f"WorkflowTemplate {order.template!r} is not in namespace {order.namespace!r}: create it"
    else:
        advice = f"something that the workflow refers to is missing in namespace {order.namespace!r}: create it"
    return Missing(f"{advice}, the trigger is to be tried again. The engine said: {said}")


def _forbidden(said: str, order: Order) -> EngineForbade:
    by_quota = _QUOTA_TEXT.search(said) is not None
    if by_quota:
        advice = f"the quota of namespace {order.namespace!r} is used up: raise it, or wait"
    elif rights := _RIGHTS_TEXT.search(said):
        advice = f"the dispatcher's account lacks rights on {rights[1]} in namespace {order.namespace!r}: grant them"
    else:
        advice = f"a rule of the cluster forbids this in namespace {order.namespace!r}: ask who runs it"
    return EngineForbade(f"{advice}; the trigger is to be tried again. The engine said: {said}", by_quota)
