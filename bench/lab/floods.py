"""Floods of made-up and of repeated beacons against a node, and a friend who comes meanwhile."""

import subprocess
import sys
import time

import capture
import data
import wire
from device import Device, meet, strangers

TITLE = "floods of random and repeated beacons"
TOOLS = ["tcpdump"]
GROUP, PORT = "239.255.71.83", 47_473
RATE = 50_000
# A repeated beacon that a new node takes for the friend may bring about a dial and its repetitions:
# one a second at most. A storm would be thousands.
DIALS = 10


def run(lab):
    length = lab.of(7, 30)
    hub = lab.add(wire.Switch())
    a, b, c = lab.space("a"), lab.space("b"), lab.space("c")
    hub.plug(a, "to-a", "10.71.0.1/24")
    hub.plug(b, "to-b", "10.71.0.2/24")
    # The attacker is a stranger on the same switch, who heard everything.
    hub.plug(c, "to-c", "10.71.0.3/24")
    c.ip("route", "add", "224.0.0.0/4", "dev", "eth0")
    overheard = lab.add(capture.Capture(c, "eth0", lab.path("overheard.pcap"), f"udp dst port {PORT}"))
    owner, friend = Device(lab.dir, "ada", a), Device(lab.dir, "ben", b)
    meet(owner, friend)
    friend.stop()
    friend.start()
    friend.wait_met(owner, 10)
    time.sleep(4)
    overheard.close()
    beacons = [one.payload for one in overheard.datagrams() if one.source == "10.71.0.2" and len(one.payload) == 96]
    repeated = lab.path("beacons")
    with open(repeated, "wb") as file:
        file.write(b"".join(beacons))
    lab.sheet.add("beacons of the friend overheard", len(beacons), "some", bool(beacons))
    hub.space.down("to-b")
    # So that the node would like to see the friend: dials are worth making.
    owner.ok("backup", data.photos(lab.path("photos"), 4))
    strangers(lab, owner)

    dials = lab.add(capture.Capture(a, "eth0", lab.path("dials.pcap"), "udp and src host 10.71.0.1", snap=1600))
    for name, path in (("random", None), ("repeated", repeated)):
        flooded(lab, name, path, owner, c, length)
    both = [sender(c, None, 3 + length), sender(c, repeated, 3 + length)]
    time.sleep(3)
    mark = owner.mark()
    before, began = owner.cpu(), time.monotonic()
    hub.space.up("to-b")
    met = owner.wait_met(friend, length - 1, mark)
    time.sleep(max(0, began + length - 1 - time.monotonic()))
    busy = 100 * (owner.cpu() - before) / (time.monotonic() - began)
    sent = [int(one.communicate()[0] or 0) for one in both]
    # Loosened for a machine that does other things as well; the floods themselves take most of it.
    limit = 7.5 if lab.short else 5.0
    lab.sheet.most("a friend who comes during both floods is met after", met and met[0] - began, limit, "s")
    lab.sheet.note(f"both floods: {sum(sent) / (3 + length):.0f} a second; the node took {busy:.1f} % of a core, "
                   "the meeting and its shards included")
    dials.close()
    out = [one for one in dials.datagrams() if one.dport != PORT and len(one.payload) != 96]
    # A dial is a connection id of its own in first packets, however often they are sent again.
    calls = {}
    for one in out:
        if len(one.payload) >= 1200 and one.payload[0] & 0xF0 == 0xC0 and one.target != "10.71.0.2":
            calls.setdefault(int(one.time) // 10, set()).add(one.payload[6:6 + one.payload[5]])
    others = sorted({one.target for one in out if one.target not in ("10.71.0.2",)})
    lab.sheet.note(f"dialled during the floods: {', '.join(others) or 'nobody else'}")
    lab.sheet.note(f"dials to others in each 10 s: {[len(one) for _, one in sorted(calls.items())]}")
    lab.sheet.most("dials to anybody but the friend, in the worst 10 s",
                   max(map(len, calls.values()), default=0), DIALS, "dials", 0)


def sender(space, path, seconds):
    words = [sys.executable, __file__.replace("floods.py", "flood.py"), RATE, seconds, GROUP, PORT]
    return space.start(*words, *([path] if path else []), stdout=subprocess.PIPE, text=True)


def flooded(lab, name, path, owner, space, length):
    before, began = owner.cpu(), time.monotonic()
    flood = sender(space, path, length)
    sent = int(flood.communicate()[0] or 0)
    took = time.monotonic() - began
    busy = 100 * (owner.cpu() - before) / took
    rate = sent / took
    # A machine that can't send the flood has not shown anything.
    enough = 0.5 if lab.short else 0.95
    lab.sheet.least(f"{name}: sent a second", rate, RATE * enough, "beacons", 0)
    lab.sheet.most(f"{name}: the node's share of a core, for each 50000 a second", busy * RATE / max(rate, 1), 25, "%", 1)
