#!/usr/bin/env bash
# Erasure coding beside zfec, which Tahoe-LAFS uses: bench/coding.sh [MiB]
# One pack of that size (15 MiB unless said), 4 of 8 and 8 of 16, one thread each. Wants Python 3 with
# venv and the network for pip, or ZFEC_PYTHON=a Python that has zfec.
set -euo pipefail
cd "$(dirname "$0")/.."
mib=${1:-15}
python=${ZFEC_PYTHON:-}
if [ -z "$python" ]; then
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet zfec
    python=$place/venv/bin/python
fi
"$python" bench/coding.py "$mib"
cargo bench --quiet --package carryall-core --bench stages -- 'code/(encode|rebuild).*k=(4 n=8|8 n=16)'
