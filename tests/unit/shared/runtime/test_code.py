"""The name of the code that runs."""

from pathlib import Path

from shared.runtime.code import code_version


def tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path = path.with_name(f"{path.name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_other_code_has_another_name(tmp_path: Path) -> None:
    """A dead letter names the deploy that refused it: two deploys must not look like one."""
    old = tree(tmp_path / "a", services__shop__x="1", shared__runtime__y="2")
    same = tree(tmp_path / "b", services__shop__x="1", shared__runtime__y="2", services__z__x="9")
    new = tree(tmp_path / "c", services__shop__x="1", shared__runtime__y="3")
    moved = tree(tmp_path / "d", services__shop__w="1", shared__runtime__y="2")
    names = [code_version("shop", root) for root in (old, same, new, moved)]
    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert len(code_version("collector")) == 12
