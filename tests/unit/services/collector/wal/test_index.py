import os

import numpy as np
import pytest

from services.collector.wal.disk import Disk
from services.collector.wal.format import Header
from services.collector.wal.index import ENTRY_DTYPE, Index, Place, Published

HEADER = Header("log-1", 1, [("behaviour", "b"), ("orders", "o")])


def digest(seq):
    return (seq * 40503) << 20 | 2


def published(*seqs):
    """What the relay tells of records in a row: record n of `orders` lies at 10 n."""
    entries = np.empty(len(seqs), ENTRY_DTYPE)
    entries["digest"] = [digest(n) for n in seqs]
    entries["offset"] = [n * 10 for n in seqs]
    entries["topic"] = 1
    entries["partition"] = [n % 3 for n in seqs]
    return Published(seqs[0], entries)


def opened(folder, header=HEADER, **options):
    index = Index(folder, **options)
    found = [
        (first, entries["digest"].tolist())
        for first, _, entries in index.open(header, newest=10**6)
    ]
    return index, found


def test_places_are_found_again_after_a_restart(tmp_path):
    """A receipt must still name partition and offset when the collector was restarted."""
    index, _ = opened(tmp_path)
    index.append(published(5, 6, 7, 8))
    index.append(published(9))
    index.close()
    index, found = opened(tmp_path)
    assert index.last == 9
    assert found == [(5, [digest(n) for n in range(5, 10)])]
    assert index.place(7) == Place("orders", 1, 70)
    assert index.place(4) is None
    assert index.place(10) is None


@pytest.mark.parametrize("tail", [b"\0" * 24, b"\0" * 10, b"x" * 30])
def test_a_torn_tail_is_not_believed(tmp_path, tail):
    """Zeros that a power cut left must not count as records that Kafka has."""
    index, _ = opened(tmp_path)
    index.append(published(1, 2))
    index.close()
    (path,) = tmp_path.glob("*.idx")
    path.write_bytes(path.read_bytes() + tail)
    index, _ = opened(tmp_path)
    assert index.last == 2
    index.append(published(3))
    index.close()
    index, _ = opened(tmp_path)
    assert index.place(3) == Place("orders", 0, 30)


def test_a_gap_begins_a_new_file(tmp_path):
    """Records lost to a damaged log must not shift the places of those behind them."""
    index, _ = opened(tmp_path)
    index.append(published(1))
    index.append(published(5))
    assert index.place(1) == Place("orders", 1, 10)
    assert index.place(3) is None
    assert index.place(5) == Place("orders", 2, 50)


def test_old_files_expire(tmp_path):
    """A day's receipts are promised, not an ever-growing folder."""
    index, _ = opened(tmp_path, file_entries=10)
    for i in range(1, 31):
        index.append(published(i))
    old = sorted(tmp_path.glob("*.idx"))[0]
    os.utime(old, (1000, 1000))
    assert index.expire(2000, keep_bytes=1 << 30) == 11
    assert index.place(5) is None
    assert index.place(11) == Place("orders", 2, 110)
    assert index.expire(0, keep_bytes=1) == 21


def test_another_logs_index_is_not_used(tmp_path):
    """Places of a log that was deleted would answer for events of the new one."""
    index, _ = opened(tmp_path)
    index.append(published(1))
    index.close()
    index, found = opened(tmp_path, Header("log-2", 1, HEADER.topics))
    assert found == []
    assert index.last == 0


def test_progress_can_be_noted_on_a_full_disk(tmp_path):
    """Without the ballast a full disk could never empty its own log."""

    class Full(Disk):
        full = False

        def append(self, fd, blob):
            if self.full and (tmp_path / "ballast").exists():
                os.write(fd, blob[:7])
                raise OSError(28, "No space left on device")
            super().append(fd, blob)

    disk = Full()
    index, _ = opened(tmp_path, disk=disk)
    index.append(published(1))
    disk.full = True
    index.append(published(2))
    index.close()
    index, _ = opened(tmp_path)
    assert index.last == 2
