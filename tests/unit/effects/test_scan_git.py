"""S1: a git checkout that is under way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headgated.effects.scan import git_busy


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree/conf/nginx").mkdir(parents=True)
    (tmp_path / "tree/.git").mkdir()
    return tmp_path / "tree"


def test_lock_of_the_index_makes_all_of_the_work_tree_busy(tree: Path) -> None:
    assert not git_busy(str(tree))
    (tree / ".git/index.lock").touch()
    assert git_busy(str(tree))
    assert git_busy(str(tree / "conf/nginx"))
    (tree / ".git/index.lock").unlink()
    assert not git_busy(str(tree / "conf/nginx"))


def test_root_that_is_a_symlink_into_a_work_tree_is_busy_with_it(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree / "conf")
    (tree / ".git/index.lock").touch()
    assert git_busy(str(tmp_path / "link"))


@pytest.mark.parametrize("pointer", ["gitdir: ../repo/worktrees/one\n", "gitdir: {}/repo/worktrees/one\n"])
def test_linked_work_tree_has_an_index_of_its_own(tree: Path, tmp_path: Path, pointer: str) -> None:
    (tree / ".git").rmdir()
    (tree / ".git").write_text(pointer.format(tmp_path))
    (tmp_path / "repo/worktrees/one").mkdir(parents=True)
    (tmp_path / "repo/index.lock").touch()
    assert not git_busy(str(tree / "conf"))
    (tmp_path / "repo/worktrees/one/index.lock").touch()
    assert git_busy(str(tree / "conf"))


def test_nearest_work_tree_counts(tree: Path) -> None:
    (tree / "conf/.git").mkdir()
    (tree / ".git/index.lock").touch()
    assert not git_busy(str(tree / "conf/nginx"))


def test_source_without_git_is_never_busy(tmp_path: Path) -> None:
    assert not git_busy(str(tmp_path))
    assert not git_busy(str(tmp_path / "missing"))
    (tmp_path / ".git").write_text("nonsense")
    assert not git_busy(str(tmp_path))
    (tmp_path / ".git").unlink()
    os.mkfifo(tmp_path / ".git")
    assert not git_busy(str(tmp_path))


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_itself_is_seen_at_work(tmp_path: Path) -> None:
    """Git holds the lock while the editor of `git commit -a` is open; the editor asks."""
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from headgated.effects.scan.git import git_busy\n"
        f"open({str(tmp_path / 'answer')!r}, 'w').write(str(git_busy({str(tmp_path / 'tree/sub')!r})))\n"
        "open(sys.argv[1], 'w').write('message')\n"
    )
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "file").write_text("one")
    environment = os.environ | {
        "HOME": str(tmp_path),
        "GIT_EDITOR": f"{sys.executable} {editor}",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    for arguments in (["init", "-q"], ["add", "file"], [*who, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *arguments], cwd=tree, env=environment, check=True)
    (tree / "file").write_text("two")
    assert not git_busy(str(tree / "sub"))
    subprocess.run(["git", *who, "commit", "-q", "-a"], cwd=tree, env=environment, check=True)
    assert (tmp_path / "answer").read_text() == "True"
    assert not git_busy(str(tree / "sub"))
