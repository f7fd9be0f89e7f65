"""The file system of a path, so that SQLite is kept off network file systems, which would corrupt it."""

from __future__ import annotations

from pathlib import Path

from gateway.errors import DatabaseError

_NETWORK = frozenset(
    ["nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "lustre", "beegfs", "gpfs"]
    + ["glusterfs", "pvfs2", "davfs"]
    + [f"fuse.{name}" for name in ("sshfs", "glusterfs", "ceph", "s3fs", "rclone", "goofys", "gcsfuse", "blobfuse2")]
    + [f"fuse.{name}" for name in ("davfs", "mount-s3", "juicefs", "seaweedfs")]
)
_ESCAPES = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}


def file_system(path: Path, mounts: str | None = None) -> str:
    """The type of the file system of `path` (`ext4`, `nfs4` ...); '' if unknown.

    `mounts` is the text of /proc/self/mounts; the last mount at the longest matching place counts.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return ""
    resolved = path.resolve()
    best, longest = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = fields[1]
        for escape, character in _ESCAPES.items():
            place = place.replace(escape, character)
        if resolved.is_relative_to(place) and len(place) >= longest:
            best, longest = fields[2], len(place)
    return best


def refuse_network_file_system(path: Path, mounts: str | None = None) -> None:
    """Refuse a `path` on a network file system. Raises: DatabaseError.

    SQLite's WAL needs memory shared between processes and reliable locks; network file systems promise neither.
    """
    kind = file_system(path, mounts)
    if kind in _NETWORK:
        raise DatabaseError(
            f"{path} is on a network file system ({kind}), where SQLite loses data; put the data folder on a local disk"
        )
