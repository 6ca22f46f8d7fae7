"""How soon after the link is up the first byte of a shard lies on the friend's disk."""

import random
import shutil
import time

import data
import syncthing
import wire
from device import SILENCE, Device, meet, strangers
from figure import middle, seconds, worst
from namespace import Broken

TITLE = "link up, first shard byte at the friend"
TOOLS = ["tc"]


def run(lab):
    trials = lab.of(3, 10)
    # A fast and even wire: a trial takes little of the gibibyte before the link is cut again.
    hub, a, b = switch(lab)
    owner, friend = Device(lab.dir, "ada", a), Device(lab.dir, "ben", b)
    meet(owner, friend)
    ways = {
        "interface up": (lambda: b.up("eth0"), lambda: b.down("eth0")),
        "bridge port up": (lambda: hub.up("to-b"), lambda: hub.down("to-b")),
    }
    hub.down("to-b")
    folder = data.photos(lab.path("photos"), lab.of(512, 2048))
    owner.ok("backup", folder)
    random.seed(1)
    # Loosened for a machine that does other things as well.
    usual, limit = (3.0, 8.0) if lab.short else (1.5, 4.0)
    for name, (up, down) in ways.items():
        b.up("eth0")
        hub.up("to-b")
        down()
        times = [trial(lab, owner, friend, up, down) for _ in range(trials)]
        lab.sheet.note(f"{name}: {seconds(times)}")
        lab.sheet.most(f"median after {name}, of {trials}", middle(times), usual, "s")
        lab.sheet.most(f"worst after {name}", worst(times), limit, "s")
    owner.stop()
    friend.stop()
    if not lab.short:
        compare(lab, hub, a, b, folder)


def switch(lab):
    hub = lab.add(wire.Switch())
    a, b = lab.space("a"), lab.space("b")
    hub.plug(a, "to-a", "10.61.0.1/24")
    hub.plug(b, "to-b", "10.61.0.2/24")
    wire.shape(a, "eth0", 1000)
    return hub.space, a, b


def trial(lab, owner, friend, up, down):
    """One meeting, from a moment at which both have given the one before up."""
    mark = friend.mark()
    part(lab, owner, friend)
    # Wherever the rhythm of the beacons is.
    time.sleep(random.uniform(0.5, 4 if lab.short else 12))
    began = time.monotonic()
    up()
    first = friend.first_byte(30)
    time.sleep(0.05)
    down()
    if first is None:
        met = friend.since(mark, "met")
        raise Broken(f"no byte within 30 s; met {len(met)} times")
    return first - began


def part(lab, owner, friend):
    """Waits until neither holds the other for connected. The link is down. Who had nothing to say
    about an encounter has given it up by the time that silence is taken for an end."""
    if lab.short:
        return strangers(lab, owner, friend)
    end = time.monotonic() + SILENCE
    while any(connected(*pair) for pair in ((owner, friend), (friend, owner))):
        if time.monotonic() > end:
            return
        time.sleep(0.1)


def connected(one, other):
    """Tells whether the last notice about the other was of an encounter's beginning."""
    kinds = [n["type"] for _, n in one.since(0) if n.get("device") == other.id]
    kinds = [kind for kind in kinds if kind in ("met", "parted")]
    return bool(kinds) and kinds[-1] == "met"


def compare(lab, hub, a, b, folder):
    """Syncthing in the same place, its announcements to the local network on."""
    if shutil.which("syncthing") is None:
        lab.sheet.note("without syncthing there is nothing to compare with")
        return
    one, other = syncthing.couple(lab, a, b, folder)
    b.up("eth0")
    hub.down("to-b")
    times = []
    for _ in range(3):
        one.restart()
        other.restart()
        time.sleep(random.uniform(0.5, 12))
        began = time.monotonic()
        hub.up("to-b")
        first = other.first_byte(120)
        time.sleep(0.05)
        hub.down("to-b")
        times.append(first and first - began)
    lab.sheet.note(f"Syncthing after bridge port up: {seconds(times)}")
