#!/usr/bin/env bash
# imagecodecs 2026.10.10 jpeg2k_encode refuses bitspersample up to 8 for 16-bit arrays; 2026.3.6 took it (and wrote 16).
# Only Python 3.12 and later are offered the new one, so that a pin of ">=" breaks on one interpreter and not on the
# other: 1-bit and 8-bit objects in 16 bits allocated are the victims. Needs Python 3.12 or later in PYTHON.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python=${PYTHON:-}
for found in "$python" python3.14 python3.13 python3.12 "$HOME"/.pyenv/versions/3.1[2-9].*/bin/python python3; do
  [ -n "$found" ] && "$found" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && python=$found && break
done
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' || { echo "This needs Python 3.12 or later: PYTHON=..." >&2; exit 2; }
cat >encode.py <<'EOF'
import sys

import imagecodecs
import numpy as np

taken = {}
for bits in (1, 8, 12, 16):
    pixels = (np.arange(64 * 64).reshape(64, 64) % 2**bits).astype("u2")
    try:
        stream = imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", level=0, reversible=True, bitspersample=bits)
        taken[bits] = True
        says = f"taken, written with {stream[42] + 1} bits, equal: {np.array_equal(imagecodecs.jpeg2k_decode(stream), pixels)}"
    except ValueError as error:
        taken[bits], says = False, f"refused: {error}"
    print(f"imagecodecs {imagecodecs.__version__}, uint16, bitspersample={bits}: {says}")
new = imagecodecs.__version__ == "2026.10.10"
sys.exit(0 if taken == {1: not new, 8: not new, 12: True, 16: True} else "no longer as found")
EOF
for version in 2026.3.6 2026.10.10; do
  "$python" -m venv "$version"
  "$version/bin/pip" install --quiet --disable-pip-version-check "imagecodecs==$version" numpy==2.4.6
  "$version/bin/python" encode.py
done
