"""`shoploop check`."""

import sys

import pytest

from shared.tools.cli.quality import Step, checked


@pytest.mark.parametrize(("codes", "well"), [((0, 0), True), ((0, 3), False), ((1, 0), False)])
def test_one_failed_step_fails_the_check(
    codes: tuple[int, ...], well: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """CI would be green over a broken rule."""
    steps = [
        Step(f"s{n}", (sys.executable, "-c", f"print('[said {n}]'); raise SystemExit({code})"))
        for n, code in enumerate(codes)
    ]
    assert checked(steps) is well
    shown = capfd.readouterr().err
    assert all((f"[said {n}]" in shown) is (code != 0) for n, code in enumerate(codes))
