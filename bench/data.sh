#!/usr/bin/env bash
# Makes the benchmark's data: bench/data.sh DIR
#   DIR/photos  1 GiB of incompressible files of 3 to 6 MiB
#   DIR/small   20,000 files of 1 to 20 KiB of text-like bytes in 200 folders (about 205 MiB)
# The same bytes every time.
set -euo pipefail
dir=${1:?usage: bench/data.sh DIR}
if [ -e "$dir/done" ]; then exit 0; fi
mkdir -p "$dir/photos" "$dir/small"
python3 - "$dir" <<'PYTHON'
import os, random, sys
out, random = sys.argv[1], random.Random(1)
left, at = 1 << 30, 0
while left > 0:
    size = min(left, random.randint(3 << 20, 6 << 20))
    with open(f"{out}/photos/IMG_{at:04}.jpg", "wb") as file:
        file.write(random.randbytes(size))
    left, at = left - size, at + 1
words = [bytes(random.choices(b"abcdefghijklmnopqrstuvwxyz", k=random.randint(2, 9))) for _ in range(4000)]
for at in range(20_000):
    folder = f"{out}/small/{at // 100:03}"
    os.makedirs(folder, exist_ok=True)
    size = random.randint(1 << 10, 20 << 10)
    text = b" ".join(random.choices(words, k=size // 5))[:size]
    with open(f"{folder}/note_{at:05}.txt", "wb") as file:
        file.write(text)
PYTHON
sync
touch "$dir/done"
