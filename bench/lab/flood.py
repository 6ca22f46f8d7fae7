"""Sends datagrams of a beacon's length as fast as told: flood.py RATE SECONDS TARGET PORT [FILE]

Without FILE they are random; with it, they are its 96-byte packets over and over. Prints how many
went out. The kernel cuts many of them from one call (UDP_SEGMENT), else a call for each would be
more work for this side than for the other."""

import random
import socket
import sys
import time

BEACON_BYTES = 96
BATCH = 60
UDP_SEGMENT = 103


def flood(rate, seconds, target, port, packets):
    """Returns how many packets went out."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, BEACON_BYTES)
    began, sent = time.monotonic(), 0
    while time.monotonic() < began + seconds:
        try:
            sent += sender.sendto(packets(BATCH), (target, port)) // BEACON_BYTES
        except OSError:
            # Nobody listens, or the queue is full: as lost as any other.
            pass
        early = began + sent / rate - time.monotonic()
        if early > 0.002:
            time.sleep(early)
    return sent


def main(rate, seconds, target, port, path=None):
    if path is None:
        def packets(count):
            return random.randbytes(count * BEACON_BYTES)
    else:
        with open(path, "rb") as file:
            known = file.read()
        known *= BATCH * BEACON_BYTES // len(known) + 2
        at = 0

        def packets(count):
            nonlocal at
            at = (at + BEACON_BYTES) % (len(known) - count * BEACON_BYTES)
            at -= at % BEACON_BYTES
            return known[at:at + count * BEACON_BYTES]
    print(flood(float(rate), float(seconds), target, int(port), packets))


if __name__ == "__main__":
    main(*sys.argv[1:])
