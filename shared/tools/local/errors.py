"""The one error of the local stack: what is wrong, and what to do about it."""


class LocalStackError(RuntimeError):
    """Something the local stack needs is missing, taken or broken.

    Parameters
    ----------
    problem
        What is wrong, with the name, path, port or figure concerned.
    cure
        What the reader can do about it, in the imperative.
    """

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(f"{problem}\n  → {cure}")
        self.problem = problem
        self.cure = cure
