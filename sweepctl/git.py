"""The state of a git repository, with what its working tree has beside the last commit."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

MAX_DIFF_BYTES = 1 << 20
_MAX_UNTRACKED_BYTES = 64 << 10
_NEVER_QUOTED = str.maketrans("", "", '"\\')


@dataclass(frozen=True)
class GitState:
    """A working tree.

    Attributes:
        root: its top folder; None where there is no repository, or it has no commit.
        commit: the last one.
        diff: `git diff HEAD`, and small untracked text files as additions, so that `git apply` on the commit
            gives the tree again. What is left out is named in lines that begin with `#`, binary files that
            were changed in git's own words. Empty: a clean tree.
    """

    root: Path | None = None
    commit: str | None = None
    diff: bytes = b""

    @property
    def dirty(self) -> bool | None:
        """Whether the tree differs from the commit; None where there is none."""
        return bool(self.diff) if self.commit else None


def git_state(folder: Path, without: Path | None = None) -> GitState:
    """The repository around `folder`, if there is one and git is installed.

    `without`: a folder that does not count, such as one of results.
    """
    found = _git(folder, "rev-parse", "--show-toplevel", "HEAD").decode(errors="surrogateescape").split("\n")
    if len(found) < 2:
        return GitState()
    root, commit = Path(found[0]), found[1]
    counted = ["--", "."]
    if without is not None and without.resolve().is_relative_to(root):
        counted.append(f":(exclude,top){without.resolve().relative_to(root)}")
    prefixes = ("--src-prefix=a/", "--dst-prefix=b/")  # whatever the user's configuration says
    changed = _git(root, "diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", *prefixes, *counted)
    names = _git(root, "ls-files", "--others", "--exclude-standard", "-z", *counted).split(b"\0")
    added = [_addition(root, name.decode(errors="surrogateescape")) for name in names if name]
    return GitState(root, commit, _capped(b"".join([changed, *added])))


def git_state_of(file: Path, without: Path | None = None) -> GitState:
    """The repository that tracks `file`: one around an installed package has nothing to do with it."""
    return git_state(file.parent, without) if _git(file.parent, "ls-files", file.name) else GitState()


def _addition(root: Path, name: str) -> bytes:
    """An untracked file as a diff, or a line that names one that is large or no text."""
    content = _text(root / name)
    if content is None or not name.isprintable() or name != name.translate(_NEVER_QUOTED):
        return f"# untracked, not shown: {name!a}\n".encode()
    header = f"diff --git a/{name} b/{name}\nnew file mode 100644\n".encode()
    if not content:
        return header
    whole = content.endswith(b"\n")
    lines = content.removesuffix(b"\n").split(b"\n")
    after_name = "\t" if " " in name else ""  # as git marks the end of a name with spaces
    hunk = f"--- /dev/null\n+++ b/{name}{after_name}\n@@ -0,0 +1,{len(lines)} @@\n".encode()
    return b"".join(
        [
            header,
            hunk,
            *(b"+%b\n" % line for line in lines),
            b"" if whole else b"\\ No newline at end of file\n",
        ]
    )


def _text(path: Path) -> bytes | None:
    """A small text file's content, or None."""
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_UNTRACKED_BYTES:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    return None if b"\0" in content else content


def _capped(diff: bytes) -> bytes:
    """The diff, cut off at the end of a line where it is longer than `MAX_DIFF_BYTES`."""
    if len(diff) <= MAX_DIFF_BYTES:
        return diff
    kept = diff[: diff.rfind(b"\n", 0, MAX_DIFF_BYTES) + 1]
    return kept + f"# cut off here: the diff has {len(diff)} bytes\n".encode()


def _git(folder: Path, *arguments: str) -> bytes:
    """What git prints, or nothing where it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""
