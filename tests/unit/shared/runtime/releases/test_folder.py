"""What the folder of releases keeps when several write to it."""

import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.contracts.artifact import Contents
from shared.runtime.releases.folder import ReleaseFolder
from shared.runtime.releases.package import Package
from shared.runtime.releases.port import Manifest, Pointer
from shared.runtime.releases.signing import Verifier


def test_pointers_saved_at_once_do_not_trip_over_each_other(tmp_path: Path) -> None:
    """The trainer would die because an operator took a release back in the same moment."""
    folder = ReleaseFolder(tmp_path, Verifier([]), 1 << 20)
    pointers = [Pointer(current=f"v{n}", epoch=n) for n in range(1, 400)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pointer: folder.save_pointer("recommend", pointer), pointers))
    assert folder.pointer("recommend") in pointers
    assert [path.name for path in (tmp_path / "recommend").iterdir()] == ["pointer.json"]


def test_what_does_not_fit_on_the_disk_leaves_nothing_there(tmp_path: Path) -> None:
    """A nearly full disk would be filled up by halves of releases that nobody removes."""
    folder = ReleaseFolder(tmp_path, Verifier([]), 1 << 20)
    manifest = Manifest(model="recommend", version="v1", contents=Contents(kind="toy"))
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, usual[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.save(Package(manifest, b"{}", bytes(1 << 17)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert list((tmp_path / "recommend").iterdir()) == []
