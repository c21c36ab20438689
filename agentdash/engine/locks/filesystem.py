"""Which file system a folder is on: over a network, flock may be local to one machine, or not there at all."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

MOUNTINFO: Final = "/proc/self/mountinfo"

# fmt: off
_NETWORK: Final = frozenset((
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs3",
    "nfs4", "orangefs", "pvfs2", "smb", "smb2", "smb3", "smb3_kernel", "smbfs",
))
_NETWORK_FUSE: Final = frozenset((
    "afp", "blobfuse", "blobfuse2", "ceph", "ceph-fuse", "cephfs", "curlftpfs", "davfs", "davfs2", "gcsfuse",
    "glusterfs", "google-drive-ocamlfuse", "goofys", "gvfsd-fuse", "hdfs", "httpdirfs", "juicefs", "moosefs", "mfs",
    "mfsmount", "ossfs", "rclone", "s3fs", "s3ql", "seaweedfs", "smbnetfs", "sshfs", "vmhgfs-fuse", "weed",
))
# fmt: on
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def filesystem_of(path: str | os.PathLike[str], mountinfo: str | os.PathLike[str] = MOUNTINFO) -> str | None:
    """The type of the file system that holds `path` (`ext4`, `nfs4`, `fuse.sshfs`), as the kernel names it.

    None where `mountinfo` cannot be read (anything but Linux) or no mount covers the path.
    """
    try:
        lines = Path(mountinfo).read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return None
    place = os.path.realpath(path)
    best, kind = -1, None
    for line in lines:
        mount = _parse(line)
        # Of two mounts on one point, the later line hides the earlier.
        if mount is not None and len(mount[0]) >= best and _covers(mount[0], place):
            best, kind = len(mount[0]), mount[1]
    return kind


def is_network_filesystem(kind: str | None) -> bool:
    """Whether a type as `filesystem_of` returns it is shared over a network. Unknown types count as local."""
    if kind is None:
        return False
    family, _, name = kind.lower().partition(".")
    if family == "fuse" and name:
        return name in _NETWORK_FUSE or name in _NETWORK
    return family in _NETWORK


def _parse(line: str) -> tuple[str, str] | None:
    """Mount point and type of a mountinfo line: `id parent dev root POINT options [fields…] - TYPE source options`."""
    before, separator, after = line.partition(" - ")
    fields, rest = before.split(" "), after.split(" ")
    if not separator or len(fields) < 6:
        return None
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4]), rest[0]


def _covers(point: str, place: str) -> bool:
    return point == "/" or place == point or place.startswith(point + "/")
