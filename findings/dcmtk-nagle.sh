#!/usr/bin/env bash
# DCMTK 3.6.7 storescu and storescp leave Nagle's algorithm on unless the environment has TCP_NODELAY=1: a small
# instance goes out in two segments, and each waits for the delayed acknowledgement of the one before. Small instances
# over loopback take tens of times as long. What is measured is the ratio.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

seen="3.6.7-9~deb12u4"
here=$(dpkg-query -W -f='${Version}' dcmtk) || { echo "This needs Debian's package dcmtk (seen with $seen)" >&2; exit 2; }
echo "dcmtk $here"
[ "$here" = "$seen" ] || echo "*** NOTE: seen with dcmtk $seen; this machine has $here ***"

cat >in.dump <<'EOF'
(0008,0016) UI =CTImageStorage
(0008,0018) UI [1.2.276.0.7230010.3.1.4.1]
(0010,0010) PN [Test^A]
(0010,0020) LO [1]
EOF
dump2dcm +te in.dump in.dcm
files=()
for i in $(seq 40); do cp in.dcm "$i.dcm"; files+=("$i.dcm"); done
mkdir in
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
milliseconds() { # NAME=VALUE for the environment of both sides
  env "$1" storescp --ignore -od in "$port" & local scp=$!
  for _ in $(seq 50); do env "$1" echoscu localhost "$port" 2>/dev/null && break; sleep 0.1; done
  local begin; begin=$(date +%s%N)
  env "$1" storescu localhost "$port" "${files[@]}" >&2
  echo $((($(date +%s%N) - begin) / 1000000))
  kill "$scp"; wait "$scp" 2>/dev/null || true
}
default=$(milliseconds USUAL=1)
nodelay=$(milliseconds TCP_NODELAY=1)
ratio=$((default / (nodelay > 0 ? nodelay : 1)))
echo "40 instances: the default takes $ratio times as long as TCP_NODELAY=1"
[ "$ratio" -ge 3 ] || { echo "no longer as found" >&2; exit 1; }
