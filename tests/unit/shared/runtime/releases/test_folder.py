"""What the folder of releases keeps when several write to it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shared.runtime.releases.folder import ReleaseFolder
from shared.runtime.releases.port import Pointer
from shared.runtime.releases.signing import Verifier


def test_pointers_saved_at_once_do_not_trip_over_each_other(tmp_path: Path) -> None:
    """The trainer would die because an operator took a release back in the same moment."""
    folder = ReleaseFolder(tmp_path, Verifier([]), 1 << 20)
    pointers = [Pointer(current=f"v{n}", epoch=n) for n in range(1, 400)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pointer: folder.save_pointer("recommend", pointer), pointers))
    assert folder.pointer("recommend") in pointers
    assert [path.name for path in (tmp_path / "recommend").iterdir()] == ["pointer.json"]
