"""The link is cut at random bytes for 1 to 15 s, or an end of it changes its address."""

import random
import time

import data
import wire
from device import Device, meet
from figure import middle, seconds, worst
from namespace import Broken

TITLE = "cut at random bytes, and changes of address"
TOOLS = ["tc"]
# Bytes between two cuts, at most; the data is made so that it lasts.
APART = 40 << 20


def run(lab):
    cuts = lab.of(2, 12, 100)
    hub = lab.add(wire.Switch())
    a, b = lab.space("a"), lab.space("b")
    hub.plug(a, "to-a", "10.62.0.1/24")
    hub.plug(b, "to-b", "10.62.0.2/24")
    for space in (a, b):
        wire.shape(space, "eth0", 400)
    owner, friend = Device(lab.dir, "ada", a), Device(lab.dir, "ben", b)
    meet(owner, friend)

    # First without cuts: what one byte of a shard costs on the wire.
    hub.space.down("to-b")
    owner.ok("backup", data.photos(lab.path("before"), 96, seed=2))
    base = Count(owner, friend)
    hub.space.up("to-b")
    finish(owner, 120)
    cost = base.wire() / base.unique()
    lab.sheet.note(f"uncut: {cost:.4f} bytes on the wire for each byte of a shard")

    hub.space.down("to-b")
    mib = 64 + cuts * (APART >> 20) * 6 // 10
    owner.ok("backup", data.photos(lab.path("photos"), mib, seed=3))
    random.seed(4)
    # Nothing of the encounter before is counted, nor given up late.
    for device in (owner, friend):
        device.restart()
    count = Count(owner, friend)
    hub.space.up("to-b")
    if friend.first_byte(60) is None:
        raise Broken("nothing came before the first cut")
    ways = [Cable("the interface goes down and up", b, "eth0"),
            # Only the carrier tells.
            Cable("the port of the switch goes down and up", hub.space, "to-b"),
            Address(a, "10.62.0.1{}/24", "sender"), Address(b, "10.62.0.2{}/24", "receiver"),
            Move(a, "10.62.0.1{}/24", "sender"), Move(b, "10.62.0.2{}/24", "receiver")]
    if lab.short:
        ways = [ways[0], ways[2]]
    times = {}
    done = 0
    for number in range(cuts):
        # Not where the shards are all there.
        if not wait_bytes(friend, random.randrange(1 << 16, APART)):
            lab.sheet.note(f"everything had come after {number} cuts")
            break
        way = ways[number % len(ways)]
        first = way.cut(friend, random.uniform(1, 4 if lab.short else 15))
        times.setdefault(way.NAME, []).append(first)
        done += 1
    finish(owner, 300)
    for name, found in sorted(times.items()):
        lab.sheet.note(f"{name}: {seconds(found)}")
    every = [time for found in times.values() for time in found]
    # Loosened for a machine that does other things as well.
    limit = 6.0 if lab.short else 2.0
    lab.sheet.add("cuts made", done, cuts, done == cuts)
    lab.sheet.most(f"median of first new byte after the link is back, {done} cuts", middle(every), limit, "s")
    for name, found in sorted(times.items()):
        lab.sheet.most(f"median where {name}, {len(found)} cuts", middle(found), limit, "s")
    lab.sheet.note(f"the worst of all: {seconds([worst(every)])}")
    unique, wired = count.unique(), count.wire()
    again = (wired / cost - unique) / max(done, 1)
    lab.sheet.most("payload that came twice, per cut, by the wire", again / (1 << 20), 1.0, "MiB")
    heard, said = count.received(), count.sent()
    lab.sheet.most("payload that was taken in twice, per cut, by the friend's count",
                   (heard - unique) / max(done, 1) / (1 << 20), 1.0, "MiB")
    lab.sheet.note(f"unique {unique >> 20} MiB, wire {wired >> 20} MiB, sender's count {said >> 20} MiB, "
                   f"friend's count {heard >> 20} MiB")
    time.sleep(2)
    shards = friend.shards()
    lab.sheet.none("shards that lie there twice", [name for name, paths in shards.items() if len(paths) > 1])
    # One friend has every pack whole: as many shards as packs.
    packs = owner.status()["packs"]
    lab.sheet.add("shards on the shelf", len(shards), f"{packs}, one for each pack", len(shards) == packs)
    lab.sheet.none("temporary files left", friend.temporaries() + owner.temporaries())


class Count:
    """What went over the wire, into shards and through the nodes since its beginning."""

    def __init__(self, owner, friend):
        self.owner, self.friend = owner, friend
        self.marks = owner.mark(), friend.mark()
        self.at = wire.received(friend.pid)

    def wire(self):
        return wire.received(self.friend.pid) - self.at

    def unique(self):
        return sum({n["shard"]: n["bytes"] for _, n in self.friend.since(self.marks[1], "kept")}.values())

    def received(self):
        return self.through(self.friend, self.marks[1], "received")

    def sent(self):
        return self.through(self.owner, self.marks[0], "sent")

    @staticmethod
    def through(device, mark, field):
        return sum(n[field] for _, n in device.since(mark, "parted"))


def finish(owner, patience):
    """Waits until everything is safe and the encounter is over."""
    mark = owner.mark()
    owner.until("safe", lambda status: status["bytes_only_here"] == 0, patience)
    owner.wait(lambda n: n["type"] == "parted", 30, mark)


def wait_bytes(friend, bytes, patience=60):
    """Waits until so many more bytes came over the wire; tells whether they did."""
    before = wire.received(friend.pid)
    end = time.monotonic() + patience
    while wire.received(friend.pid) < before + bytes:
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


class Cable:
    """One end of a cable goes down and comes up."""

    def __init__(self, name, space, device):
        self.NAME = name
        self.space, self.device = space, device

    def cut(self, friend, length):
        self.space.down(self.device)
        time.sleep(length)
        began = time.monotonic()
        self.space.up(self.device)
        return since(began, friend)


class Address:
    """An end is away, and comes back with another address."""

    HOW = "is away and comes back with another address"

    def __init__(self, space, pattern, who):
        self.space, self.pattern, self.times = space, pattern, 0
        self.NAME = f"the {who} {self.HOW}"

    def cut(self, friend, length):
        self.space.down("eth0")
        time.sleep(length)
        self.times += 1
        self.space.address("eth0", self.pattern.format(self.times % 9))
        began = time.monotonic()
        self.space.up("eth0")
        return since(began, friend)


class Move(Address):
    """An end changes its address, and the cable stays in."""

    HOW = "gets another address, the cable in"

    def cut(self, friend, length):
        self.times += 1
        began = time.monotonic()
        self.space.address("eth0", self.pattern.format(self.times % 9))
        # What had arrived before is written by then, and no news.
        time.sleep(0.25)
        return since(began, friend)


# What a greeting and feeds can't reach on the wire.
GREETING = 32 << 10


def since(began, friend):
    """Returns the seconds until a byte of a shard lies on the disk that came over the wire since.
    What had come before the cut may be written as late as the old link is given up, and is no
    news: growth before a greeting's worth of bytes came does not count."""
    wired = wire.received(friend.pid)
    before = friend.parts()
    mark = friend.mark()
    while time.monotonic() < began + 90:
        at, parts = time.monotonic(), friend.parts()
        if wire.received(friend.pid) - wired < GREETING:
            before, mark = parts, friend.mark()
        elif friend.since(mark, "kept") or any(bytes > before.get(name, 0) for name, bytes in parts.items()):
            return at - began
        time.sleep(0.002)
    return None
