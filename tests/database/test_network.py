"""Telling a network file system by /proc/self/mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.database.network import file_system, refuse_network_file_system
from gateway.errors import DatabaseError

MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/export /data nfs4 rw 0 0
/dev/vdb /data/local xfs rw 0 0
host: /mnt/my\\040files fuse.sshfs rw 0 0
tmpfs /over tmpfs rw 0 0
//nas/share /over cifs rw 0 0
short
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/data/gateway", "nfs4"),
        ("/database", "ext4"),
        ("/data/local/gateway", "xfs"),
        ("/mnt/my files/x", "fuse.sshfs"),
        ("/over/x", "cifs"),
    ],
)
def test_the_longest_and_last_mount_counts(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


def test_refusal_names_the_place_and_what_to_do() -> None:
    with pytest.raises(DatabaseError, match=r"/data/x.*nfs4.*local disk"):
        refuse_network_file_system(Path("/data/x"), MOUNTS)
    refuse_network_file_system(Path("/var/lib"), MOUNTS)
    refuse_network_file_system(Path("/tmp"))
