"""The command line's root."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from shared.tools.cli import main

ROOT = Path(__file__).parents[5]


@pytest.mark.parametrize("name", sorted(main.COMMANDS))
def test_every_command_that_is_listed_exists(name: str) -> None:
    """A user would try what the overview offers and get a stack trace."""
    module, _, attribute = main.COMMANDS[name].target.partition(":")
    found = getattr(importlib.import_module(f"{main.MODULES}.{module}"), attribute)
    assert callable(found) or isinstance(found, typer.Typer)
    assert main.COMMANDS[name].about


def test_the_overview_imports_no_command() -> None:
    """The first thing that a user tries would take seconds."""
    program = (
        "import sys\nfrom shared.tools.cli.main import main\n"
        "try: main([])\nexcept SystemExit: pass\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & "
        "{'typer', 'rich', 'kafka', 'redis', 'numpy', 'fastapi'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *listed, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    text = "\n".join(listed)
    assert all(f"  {name}" in text for name in main.COMMANDS)


def test_a_misspelt_command_is_answered_with_the_right_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A user would have to search the list for a typing error."""
    with pytest.raises(SystemExit) as ended:
        main.main(["evalute"])
    assert ended.value.code == 2
    assert "did you mean `shoploop evaluate`?" in capsys.readouterr().err


def test_a_complaint_is_a_line_and_no_stack_trace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A user would read our code to find out what he did wrong."""
    monkeypatch.setenv("SHOPLOOP_KEYS", str(tmp_path / "none.json"))
    with pytest.raises(SystemExit) as ended:
        main.main(["keys", "list"])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("✗ no keys in")
