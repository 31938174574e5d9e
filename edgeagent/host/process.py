"""What this process uses, from /proc, under the names that Prometheus's own clients give it.

Reading /proc waits for no disk. A figure that cannot be read, in a sandbox, is left out.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from edgeagent.common.exposition import MetricFamily, MetricSample, counter, gauge

_PROC = Path("/proc/self")
# proc(5), /proc/self/stat: the fields behind the name, which is in parentheses and may contain anything.
_FIRST_FIELD = 3
_UTIME, _STIME, _THREADS, _START, _VSIZE, _RSS = 14, 15, 20, 22, 23, 24


def process_families() -> list[MetricFamily]:
    """The present figures."""
    families: list[MetricFamily] = []
    with suppress(OSError, ValueError, IndexError):
        fields = (_PROC / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        utime, stime, threads, start, vsize, rss = (
            int(fields[number - _FIRST_FIELD]) for number in (_UTIME, _STIME, _THREADS, _START, _VSIZE, _RSS)
        )
        ticks = os.sysconf("SC_CLK_TCK")
        families += [
            counter("process_cpu_seconds_total", "CPU time used, in seconds.", MetricSample((utime + stime) / ticks)),
            gauge(
                "process_resident_memory_bytes",
                "Resident memory, in bytes.",
                MetricSample(rss * os.sysconf("SC_PAGE_SIZE")),
            ),
            gauge("process_virtual_memory_bytes", "Virtual memory, in bytes.", MetricSample(vsize)),
            gauge(
                "process_start_time_seconds", "When it started, Unix seconds.", MetricSample(_started_at(start / ticks))
            ),
            gauge("process_threads", "Threads.", MetricSample(threads)),
        ]
    with suppress(OSError):
        open_fds = len(os.listdir(_PROC / "fd")) - 1  # noqa: PTH208  names are wanted; one is the listing's own
        families.append(gauge("process_open_fds", "Open files and sockets.", MetricSample(open_fds)))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        families.append(gauge("process_max_fds", "How many files and sockets may be open.", MetricSample(soft)))
    return families


def python_version() -> str:
    """The version of Python that runs this process, such as `3.11.2`."""
    return ".".join(map(str, sys.version_info[:3]))


@cache  # the wall clock may be set later, and the time of the start must not change with it
def _started_at(since_boot_s: float) -> float:
    return round(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot_s, 2)
