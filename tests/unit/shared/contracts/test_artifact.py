"""An artifact is read from a store that others can write to: nothing in it is believed."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared.contracts.artifact import ALLOWED_DTYPES, Artifact, Contents, Part, check, pack, unpack
from shared.contracts.errors import Invalid

SMALL = Artifact(
    "toy",
    {"a": np.arange(6, dtype=np.float32).reshape(2, 3)},
    {"k": [1, "é"]},
    {"ids": "苹果".encode()},
)


def packed(artifact: Artifact) -> tuple[Contents, bytearray]:
    contents, buffers = pack(artifact)
    return contents, bytearray(b"".join(buffers))


@given(
    hnp.arrays(
        st.sampled_from(sorted(ALLOWED_DTYPES)),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0),
    )
)
def test_any_array_comes_back_as_it_went(array: np.ndarray) -> None:
    """A model that changes on its way to serving gives other answers than the ones it was judged by."""
    back = unpack(*packed(Artifact("toy", {"a": array}))).arrays["a"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_meta_and_blobs_come_back() -> None:
    """Item ids live in blobs and settings in meta."""
    back = unpack(*packed(SMALL))
    assert (back.kind, back.meta, back.blobs) == ("toy", {"k": [1, "é"]}, {"ids": "苹果".encode()})


def test_columns_of_a_transposed_array_keep_their_places() -> None:
    """Factor matrices are often transposed views; their memory order is not their meaning."""
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    assert unpack(*packed(Artifact("toy", {"a": array}))).arrays["a"].tolist() == [
        [0, 3],
        [1, 4],
        [2, 5],
    ]


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([object()]), np.array([1j])])
def test_arrays_that_need_more_than_bytes_are_refused(array: np.ndarray) -> None:
    """Object arrays would need a pickle to load."""
    with pytest.raises(Invalid, match="cannot be released"):
        pack(Artifact("toy", {"a": array}))


@given(st.integers(0, 29), st.integers(1, 255))
def test_every_changed_byte_is_noticed(at: int, change: int) -> None:
    """A tampered release must not serve, whichever byte was changed."""
    contents, content = packed(SMALL)
    content[at] ^= change
    with pytest.raises(Invalid, match="sha256"):
        unpack(contents, content)


@given(st.integers(0, 29))
def test_every_truncation_is_noticed(length: int) -> None:
    """A half-written chunk must not serve."""
    contents, content = packed(SMALL)
    with pytest.raises(Invalid, match="manifest says"):
        unpack(contents, content[:length])


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"shape": (3, 3)}, "does not match"),
        ({"shape": (2**33, 2**31)}, "does not match"),
        ({"bytes": 0, "shape": (0, 2**62, 2**62)}, "no array"),
        ({"bytes": 0, "shape": (0,) * 70}, "no array"),
        ({"dtype": "|O"}, "not allowed"),
        ({"bytes": 7 << 30, "shape": (7 << 28,)}, "exceed"),
    ],
)
def test_a_hostile_table_is_refused_before_memory_is_taken(part: dict, says: str) -> None:
    """A forged shape must cost the attacker's time, not the server's memory."""
    contents, _ = pack(SMALL)
    forged = msgspec.structs.replace(
        contents, parts=(msgspec.structs.replace(contents.parts[0], **part),)
    )
    with pytest.raises(Invalid, match=says):
        check(forged, max_bytes=1 << 30)


def test_names_are_unique_and_the_format_is_known() -> None:
    """Two parts of one name would hide one; a newer format may mean something else."""
    part = Part(name="a", bytes=0, sha256="")
    with pytest.raises(Invalid, match="same name"):
        check(Contents(kind="toy", parts=(part, part)))
    with pytest.raises(Invalid, match="format 2"):
        check(Contents(kind="toy", format=2))
