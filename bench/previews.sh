#!/usr/bin/env bash
# What previews cost: a first backup of made-up photos with them and without. bench/previews.sh [PICTURES]
# Wants /usr/bin/time, and Python 3 with venv and the network for pip, or PILLOW_PYTHON=a Python that has
# Pillow. CARRYALL=path takes that binary instead of building one.
set -euo pipefail
cd "$(dirname "$0")/.."
pictures=${1:-40}
[ -x /usr/bin/time ] || { echo "this wants /usr/bin/time, which is missing" >&2; exit 2; }
if [ -z "${CARRYALL:-}" ]; then
    cargo build --release --locked --quiet --package carryall-cli
    CARRYALL=${CARGO_TARGET_DIR:-$PWD/target}/release/carryall
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python=${PILLOW_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$dir/venv"
    "$dir/venv/bin/pip" install --quiet pillow
    python=$dir/venv/bin/python
fi
mkdir "$dir/photos"
# Soft shapes under fine noise, 12 million pixels each: some 5 MB, as a telephone's are.
"$python" - "$dir/photos" "$pictures" <<'PYTHON'
import sys
from PIL import Image, ImageFilter

shapes = Image.effect_noise((1000, 750), 60).resize((4000, 3000), Image.BICUBIC)
noise = Image.effect_noise((4000, 3000), 24)
soft = noise.filter(ImageFilter.GaussianBlur(1))
for number in range(int(sys.argv[2])):
    picture = Image.merge("RGB", (shapes.rotate(number), Image.blend(shapes, noise, 0.3), soft))
    picture.save(f"{sys.argv[1]}/{number}.jpg", quality=88)
PYTHON
du -sh "$dir/photos"
for previews in true false; do
    home="$dir/home-$previews"
    "$CARRYALL" --home "$home" --json init --name bench >/dev/null
    "$CARRYALL" --home "$home" config previews "$previews" >/dev/null
    cat "$dir"/photos/* >/dev/null
    echo "previews $previews:"
    # 4: saved, and with no friend yet.
    /usr/bin/time -q -f '  %e s, processor %U + %S s, %M KiB' \
        "$CARRYALL" --home "$home" --json backup "$dir/photos" >/dev/null || [ $? = 4 ]
    echo "  metadata in the spool: $(du -sk "$home/spool" | cut -f1) KiB"
done
