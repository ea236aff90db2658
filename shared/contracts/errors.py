"""The kinds of failure; the runtime decides by kind what happens to a message or a request."""


class Invalid(ValueError):
    """The input is wrong and stays wrong however often it is tried: reject it with the reason.

    Parameters
    ----------
    reason : str
        What is wrong and what to do, in words for the sender.
    field : str, optional
        Path of the wrong value, such as ``items[0].price_cents``.
    """

    def __init__(self, reason: str, *, field: str | None = None) -> None:
        super().__init__(reason if field is None else f"{field}: {reason}")
        self.reason = reason
        self.field = field


class Retryable(RuntimeError):
    """Something outside is not there at the moment; the same input may succeed later."""

    def __init__(self, reason: str, *, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class NotFound(LookupError):
    """What was asked for does not exist; HTTP answers 404 with this text."""


class Undeclared(LookupError):
    """A service reached for something that its manifest does not declare."""


class UndeclaredTopic(Undeclared):
    """The topic is missing from the manifest's `reads` or `writes`."""


class UndeclaredKey(Undeclared):
    """The key space is missing from the manifest's `keys`."""


class UndeclaredModel(Undeclared):
    """The model is missing from the manifest's `models`."""
