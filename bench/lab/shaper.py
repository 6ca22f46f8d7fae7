"""A slow and lossy way between two namespaces: packets go in at one TUN device and come out at the
other, at a rate, after a delay, and some never. Each direction has a queue of its own, first in,
first out, and bounded: what finds it full is lost, as in a router.

Run by itself it is the process that moves the packets:
shaper.py FD FD MBIT DELAY_MS LOSS_PERCENT QUEUE_MS
"""

import collections
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
# What a packet costs beyond its IP length on the wire that this stands for: Ethernet.
FRAME = 14
PACKET_MAX = 2048


class Shaper:
    """The devices and the process between them. `delay_ms` is one way: a round trip takes two."""

    def __init__(self, a, b, mbit, delay_ms, loss_percent=0.0, queue_ms=100, device="tun0"):
        self.files = []
        for space in (a, b):
            file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            name = f"lab{os.getpid() % 100000}x{len(self.files)}"
            fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
            subprocess.run(["ip", "link", "set", name, "netns", space.name, "name", device,
                            "mtu", "1500", "txqueuelen", "1000"], check=True)
            self.files.append(file)
        self.process = subprocess.Popen(
            [sys.executable, __file__, *map(str, self.files), str(mbit), str(delay_ms),
             str(loss_percent), str(queue_ms)], pass_fds=self.files)

    def cpu(self):
        """Returns the CPU seconds that the moving took."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.process.kill()
        self.process.wait()
        for file in self.files:
            os.close(file)


class Way:
    """One direction: when the wire is free again, and what is on its way."""

    def __init__(self, source, target, rate, delay, loss, queue):
        self.source, self.target = source, target
        self.rate, self.delay, self.loss, self.queue = rate, delay, loss, queue
        self.free = 0.0
        self.waiting = collections.deque()

    def take(self, now):
        """Takes what lies at the entrance, a bounded lot at a time."""
        for _ in range(64):
            try:
                packet = os.read(self.source, PACKET_MAX)
            except BlockingIOError:
                return
            start = max(now, self.free)
            if start - now > self.queue:
                continue
            self.free = start + (len(packet) + FRAME) / self.rate
            if random.random() >= self.loss:
                self.waiting.append((self.free + self.delay, packet))

    def give(self, now):
        """Lets out what has arrived."""
        while self.waiting and self.waiting[0][0] <= now:
            try:
                os.write(self.target, self.waiting.popleft()[1])
            except OSError:
                # The device is down: lost, as on any cable that was pulled.
                pass


def move(a, b, mbit, delay_ms, loss_percent, queue_ms):
    settings = (mbit * 1e6 / 8, delay_ms / 1000, loss_percent / 100, queue_ms / 1000)
    ways = [Way(a, b, *settings), Way(b, a, *settings)]
    poll = select.epoll()
    for way in ways:
        poll.register(way.source, select.EPOLLIN)
    by_source = {way.source: way for way in ways}
    while True:
        now = time.monotonic()
        due = min((way.waiting[0][0] for way in ways if way.waiting), default=now + 1)
        for source, _ in poll.poll(max(0.0, due - now)):
            by_source[source].take(time.monotonic())
        now = time.monotonic()
        for way in ways:
            way.give(now)


if __name__ == "__main__":
    move(int(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:]))
