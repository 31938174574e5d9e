"""The demo as plain lines, one for each thing that happens: for logs, pipes and simple terminals."""

from __future__ import annotations

from typing import TextIO

from edgeagent.demo.scene import News, Scene

_PROGRESS_S = 5.0


class Plain:
    """A `Display` that needs only a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._progress_at_s = _PROGRESS_S

    def tell(self, scene: Scene, news: News) -> None:  # noqa: ARG002  a line stands by itself
        """See `Display`."""
        self._write(news)

    def refresh(self, scene: Scene) -> None:
        """See `Display`: reports the progress every few seconds."""
        tally = scene.tally
        if scene.elapsed_s < self._progress_at_s or tally.events == len(scene.readings):
            return
        self._progress_at_s = scene.elapsed_s + _PROGRESS_S
        self._write(
            News(
                scene.elapsed_s,
                f"{tally.events:,} of {len(scene.readings):,} readings acknowledged, {len(tally.promised)} workflows "
                f"promised, {tally.waiting} waiting on disk, {len(tally.succeeded)} succeeded",
            )
        )

    def close(self, scene: Scene) -> None:
        """See `Display`."""

    def _write(self, news: News) -> None:
        self._stream.write(f"[{news.at_s:5.1f} s] {news.text}\n")
        self._stream.flush()
