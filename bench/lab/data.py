"""Made-up files that nothing can compress."""

import os
import random
import time


def photos(folder, mib, seed=1, age_days=0, each_mib=4):
    """Writes files of `each_mib` MiB, `mib` MiB in all, last changed so many days ago."""
    source = random.Random(seed)
    os.makedirs(folder, exist_ok=True)
    when = time.time() - age_days * 86_400
    left, number = mib, 0
    while left > 0:
        size = min(each_mib, left)
        path = os.path.join(folder, f"IMG_{seed}_{number:05}.jpg")
        with open(path, "wb") as file:
            file.write(source.getrandbits(size << 23).to_bytes(size << 20, "little"))
        os.utime(path, (when, when))
        left, number = left - size, number + 1
    return folder


def on_disk(folder):
    """Returns the bytes of all blocks of the files below a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except FileNotFoundError:
                # Moved in between: it is counted where it is now, or the next time.
                pass
    return total
