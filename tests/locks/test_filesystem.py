"""Point 10: network file systems are refused by name."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from agentdash.engine.locks import TaskLock, filesystem_of, folder, is_network_filesystem
from agentdash.errors import LockError

MOUNTINFO = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:50 / /srv rw shared:12 master:3 - nfs4 server:/srv rw
41 40 254:1 / /srv/local rw - xfs /dev/vdb rw
42 27 0:51 / /srv/my\040share rw - fuse.sshfs me@host:/ rw
43 27 0:52 / /mnt rw - ext4 /dev/vdc rw
44 43 0:53 / /mnt rw - cifs //server/share rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"), ("/home/me", "ext4"), ("/srv", "nfs4"), ("/srv/a/b", "nfs4"), ("/srvx", "ext4"),
        ("/srv/local/x", "xfs"), ("/srv/my share/x", "fuse.sshfs"), ("/mnt/x", "cifs"),
    ],
)  # fmt: skip
def test_the_innermost_and_latest_mount_counts(tmp_path: Path, path: str, kind: str) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    assert filesystem_of(path, tmp_path / "mountinfo") == kind


def test_without_mountinfo_nothing_is_known(tmp_path: Path) -> None:
    assert filesystem_of("/", tmp_path / "none") is None
    assert not is_network_filesystem(None)


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.glusterfs", "ceph", "NFS4"])
def test_network_names(kind: str) -> None:
    assert is_network_filesystem(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "apfs", "fuse", "fuseblk", "zfs"])
def test_local_names(kind: str) -> None:
    assert not is_network_filesystem(kind)


def test_a_network_file_system_is_refused_by_name(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "filesystem_of", lambda _: "nfs4")
    with pytest.raises(LockError, match="nfs4") as caught:
        TaskLock(project)
    assert caught.value.hint
    assert not (project / ".locks").exists()


def test_a_network_file_system_may_be_allowed_with_one_warning(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(folder, "filesystem_of", lambda _: "fuse.sshfs")
    with caplog.at_level(logging.WARNING):
        lock = TaskLock(project, allow_network_filesystem=True)
        assert lock.acquire("t1")
    [record] = caplog.records
    assert "fuse.sshfs" in record.getMessage()
