"""Which code runs, where nobody has given it a name."""

from hashlib import sha256
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_SHARED = ("shared/contracts", "shared/runtime", "shared/learning")


def code_version(service: str, root: Path = _ROOT) -> str:
    """Return a name for the code of `service`, 12 characters: equal code has equal names.

    Reads all of it, some 10 ms.
    """
    digest = sha256()
    for folder in (*_SHARED, f"services/{service}"):
        for file in sorted((root / folder).rglob("*.py")):
            content = file.read_bytes()
            digest.update(f"{file.relative_to(root)} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()[:12]
