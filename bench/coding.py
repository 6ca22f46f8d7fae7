"""How fast zfec encodes and rebuilds, on one thread: coding.py MiB"""

import os
import sys
import time

import zfec

ROUNDS = 10


def best(action):
    """Returns the seconds that the quickest of some rounds took."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        action()
        took.append(time.perf_counter() - began)
    return min(took)


def main():
    mib = int(sys.argv[1])
    data = os.urandom(mib << 20)
    for k, n in (4, 8), (8, 16):
        each = len(data) // k
        pieces = [data[at * each:(at + 1) * each] for at in range(k)]
        encoder, decoder = zfec.Encoder(k, n), zfec.Decoder(k, n)
        shards = encoder.encode(pieces)
        numbers = list(range(n - k, n))
        last = [shards[number] for number in numbers]
        assert list(decoder.decode(last, numbers)) == pieces
        encode = best(lambda: encoder.encode(pieces))
        rebuild = best(lambda: decoder.decode(last, numbers))
        print(f"zfec {zfec.__version__} k={k} n={n}: encode {mib / encode:.0f} MiB/s, rebuild from the last k {mib / rebuild:.0f} MiB/s")


main()
