import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.tools.local.errors import LocalStackError
from shared.tools.local.paths import CHECKOUT, Home, cache_folder, default_home


def test_the_home_is_in_the_checkout_unless_named(tmp_path: Path) -> None:
    """Data would land in whatever folder a command was typed in."""
    assert default_home({}).root == CHECKOUT / ".shoploop"
    assert default_home({"SHOPLOOP_HOME": str(tmp_path)}).root == tmp_path


def test_the_cache_follows_the_desktop_standard(tmp_path: Path) -> None:
    """Machines with a small home folder could not move it."""
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "shoploop"


def test_a_full_disk_is_refused_with_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka would die in the middle of a demo, halting on a failed write."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=7 << 20))
    with pytest.raises(LocalStackError, match="has 7 MiB left") as raised:
        Home(tmp_path / "home").make()
    assert "--home" in raised.value.cure


def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A traceback would hide that the folder is a file."""
    (tmp_path / "home").write_text("")
    with pytest.raises(LocalStackError, match="cannot write to"):
        Home(tmp_path / "home").make()
