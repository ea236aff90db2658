"""Columns of a pandas table as what models count with; a value that does not fit is refused."""

from typing import TYPE_CHECKING, Any

import numpy as np

from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats, Ints
from shared.learning.models.ids import IdIndex

if TYPE_CHECKING:
    import pandas as pd

_ID_KINDS = ("string", "integer", "mixed-integer", "empty")


def ids(frame: "pd.DataFrame", name: str) -> tuple[Ints, IdIndex]:
    """Return the (n,) numbers of a column's ids, in the order of first appearance.

    Raises
    ------
    Invalid
        Anything but strings and whole numbers: 17.0 would become the id "17.0", which is none.
    """
    import pandas as pd

    column = _column(frame, name).astype(object)
    if pd.api.types.infer_dtype(column) not in _ID_KINDS:
        raise Invalid("ids must be strings or whole numbers", field=name)
    numbers, distinct = pd.factorize(column.map(str).to_numpy(dtype=object))
    return numbers.astype(np.int32), IdIndex(distinct)


def seconds(frame: "pd.DataFrame", name: str) -> Floats:
    """Return a column of moments as (n,) seconds since 1970; those without a zone are UTC.

    Numbers are taken as seconds already; Invalid for anything else.
    """
    import pandas as pd

    column = _column(frame, name)
    if not pd.api.types.is_datetime64_any_dtype(column):
        return numbers(frame, name)
    since = pd.to_datetime(column, utc=True) - pd.Timestamp(0, tz="UTC")
    return np.asarray(since.dt.total_seconds(), dtype=np.float64)


def numbers(frame: "pd.DataFrame", name: str) -> Floats:
    """Return a numeric column as (n,) float64; Invalid if it holds anything else."""
    import pandas as pd

    column = _column(frame, name)
    if not (pd.api.types.is_integer_dtype(column) or pd.api.types.is_float_dtype(column)):
        raise Invalid(f"must hold numbers, not {column.dtype}", field=name)
    return np.asarray(column, dtype=np.float64)


def _column(frame: "pd.DataFrame", name: str) -> Any:
    columns = list(frame.columns)
    if columns.count(name) != 1:
        raise Invalid(f"the table needs one such column and has {columns}", field=name)
    column = frame[name]
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0])
        raise Invalid(f"row {row} (from 0) has no value", field=name)
    return column
