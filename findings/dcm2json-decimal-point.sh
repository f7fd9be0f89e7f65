#!/usr/bin/env bash
# DCMTK 3.6.7 dcm2json copies a decimal string that ends in its point, "-1024." (valid by PS3.5 6.2), into the JSON as a
# number, where RFC 8259 wants a digit behind the point: one such Rescale Intercept and the whole answer does not parse.
# Leading signs and zeros are mended.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

seen="3.6.7-9~deb12u4"
here=$(dpkg-query -W -f='${Version}' dcmtk) || { echo "This needs Debian's package dcmtk (seen with $seen)" >&2; exit 2; }
echo "dcmtk $here"
[ "$here" = "$seen" ] || echo "*** NOTE: seen with dcmtk $seen; this machine has $here ***"

cat >in.dump <<'EOF'
(0008,0016) UI =SecondaryCaptureImageStorage
(0008,0018) UI [1.2.276.0.7230010.3.1.4.1]
(0028,1052) DS [-1024.]
(0028,1053) DS [+01.0]
EOF
dump2dcm +te in.dump in.dcm
dcm2json in.dcm >out.json
grep -A 4 -E '"0028105[23]"' out.json
if python3 -m json.tool out.json >/dev/null 2>error; then echo "no longer as found: the JSON parses" >&2; exit 1; fi
echo "python's json says: $(cat error)"
grep -q -e '-1024\.$' out.json || { echo "no longer as found: wrong for another reason" >&2; exit 1; }
