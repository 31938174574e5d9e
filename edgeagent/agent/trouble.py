"""What keeps triggers from being taken now, for the statistics; `edgeagent emit --wait` and `doctor` show it."""

from __future__ import annotations

from edgeagent.common.foreign import shown


class Trouble:
    """The last thing that kept a trigger from being taken, until one is taken.

    `what` is a sentence and `remedy` says what to do about it; both are empty while no trouble is known.
    """

    def __init__(self) -> None:
        self.what = ""
        self.remedy = ""
        self._unheard = False

    def unheard(self, topic: str) -> None:
        """Note that nobody subscribes to the topic of the triggers."""
        self._set(f"nobody subscribes to {topic}", "is `edgeagent dispatch` running?")
        self._unheard = True

    def rehearsed(self, refusal: str) -> None:
        """Note that a dry-run dispatcher answered, which counts for nothing. `refusal`: why it refuses a trigger."""
        answer = f" ({shown(refusal)})" if refusal else ""
        self._set(
            f"only a dry-run dispatcher answers{answer}, and its answers do not count",
            "run a dispatcher with a real engine, or set uplink.accept_dry_run = true for commissioning",
        )

    def deferred(self, answer: str) -> None:
        """Note that the engine asked for another try. `answer`: its code and reason."""
        self._set(
            f"the engine puts triggers off ({shown(answer)})", "check the dispatcher: `edgeagent doctor --dispatch`"
        )

    def heard(self) -> None:
        """Note that somebody subscribes; what the subscriber makes of triggers is not known yet."""
        if self._unheard:
            self.over()

    def over(self) -> None:
        """Note that the engine settled a trigger: the trouble is over."""
        self._set("", "")

    def _set(self, what: str, remedy: str) -> None:
        self.what, self.remedy, self._unheard = what, remedy, False
