#!/usr/bin/env bash
# What previews cost: a first backup of made-up photos with them and without. bench/previews.sh [PICTURES]
# Three kinds of photos: as most cameras write them, progressive, and with a small picture of 512 by 384
# pixels in their EXIF data. Then what it costs to draw later what was saved without previews.
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
# Soft shapes under fine noise, 12 million pixels each: some 5 MB, as a telephone's are.
"$python" - "$dir" "$pictures" <<'PYTHON'
import io, os, struct, sys
from PIL import Image, ImageFilter

shapes = Image.effect_noise((1000, 750), 60).resize((4000, 3000), Image.BICUBIC)
noise = Image.effect_noise((4000, 3000), 24)
soft = noise.filter(ImageFilter.GaussianBlur(1))

def exif(picture):
    """The picture at 512 by 384 pixels, as the second directory of EXIF data."""
    small = io.BytesIO()
    picture.resize((512, 384)).save(small, "JPEG", quality=80)
    small = small.getvalue()
    first = struct.pack(">HHHIHHI", 1, 0x112, 3, 1, 1, 0, 26)
    second = struct.pack(">HHHIIHHIII", 2, 0x201, 4, 1, 56, 0x202, 4, 1, len(small), 0)
    return b"Exif\0\0MM\0*" + struct.pack(">I", 8) + first + second + small

for kind in ["plain", "progressive", "small-inside"]:
    os.mkdir(f"{sys.argv[1]}/{kind}")
for number in range(int(sys.argv[2])):
    picture = Image.merge("RGB", (shapes.rotate(number), Image.blend(shapes, noise, 0.3), soft))
    for kind, how in [
        ("plain", {}),
        ("progressive", {"progressive": True}),
        ("small-inside", {"exif": exif(picture)}),
    ]:
        picture.save(f"{sys.argv[1]}/{kind}/{number}.jpg", quality=88, **how)
PYTHON

# A new home that makes previews or not.
begin() {
    "$CARRYALL" --home "$1" --json init --name bench >/dev/null
    "$CARRYALL" --home "$1" config previews "$2" >/dev/null
}
# 4: saved, and with no friend yet.
back_up() {
    /usr/bin/time -q -f '  %e s, processor %U + %S s, %M KiB' \
        "$CARRYALL" --home "$1" --json backup "$2" >"$dir/said" || [ $? = 4 ]
}
previewed() {
    "$CARRYALL" --home "$1" --json ls "latest:/$2" | grep -c '"preview":' || true
}

for kind in plain progressive small-inside; do
    echo "$kind: $(du -sh "$dir/$kind" | cut -f1)"
    for previews in true false; do
        home="$dir/home-$kind-$previews"
        begin "$home" "$previews"
        cat "$dir/$kind"/* >/dev/null
        echo "  previews $previews:"
        back_up "$home" "$dir/$kind"
        echo "    $(previewed "$home" "$kind") previews, metadata in the spool: $(du -sk "$home/spool" | cut -f1) KiB"
    done
done
echo "again, with nothing changed:"
back_up "$dir/home-plain-true" "$dir/plain"
echo "previews drawn later, backup by backup:"
"$CARRYALL" --home "$dir/home-plain-false" config previews true >/dev/null
for _ in 1 2 3 4 5 6; do
    back_up "$dir/home-plain-false" "$dir/plain"
    echo "    $(previewed "$dir/home-plain-false" plain) previews"
done
