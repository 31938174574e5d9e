"""What `edgeagent top` says of arguments that it cannot use."""

from __future__ import annotations

import pytest

from edgeagent.__main__ import main


@pytest.mark.parametrize("interval", ["0", "-1", "2s", "nan", "3601"])
def test_an_interval_that_is_none_is_told_with_what_it_may_be(
    interval: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["top", "--interval", interval])
    assert ended.value.code == 2
    words = f"argument --interval: {interval!r} is no number of seconds from 0.2 to 3600"
    assert words in capsys.readouterr().err
