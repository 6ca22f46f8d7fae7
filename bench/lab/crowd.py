"""Fifty devices on one switch: everybody with work meets, and then there is silence."""

import os
import time

import capture
import data
import wire
from device import Device
from namespace import Broken

TITLE = "fifty devices on one switch"
TOOLS = ["tcpdump"]
BEACON = 47_473


def run(lab):
    count = int(os.environ.get("LAB_CROWD", "50"))
    idle = int(os.environ.get("LAB_IDLE_S", "600"))
    lab.add(wire.Neighbours(count))
    hub = lab.add(wire.Switch())
    devices = []
    for number in range(count):
        space = lab.space(f"n{number}")
        hub.plug(space, f"to-n{number}", f"10.70.0.{number + 1}/24")
        # Watching folders and the rest as people have it.
        devices.append(Device(lab.dir, f"n{number}", space, watch=True))
    founder = devices[0]
    founder.init()
    founder.start()
    for device in devices[1:]:
        device.join(founder.invite(device.name))
    for device in devices[1:]:
        device.start()
    for device in devices:
        device.until("acquainted with all", lambda status: len(status["members"]) == count - 1, 300, 1)
    lab.sheet.note(f"{count} devices know each other")
    lab.sheet.note(f"quiet {quiet(devices, 600)} after that")

    ports(hub, count, hub.space.down)
    owners = devices[1:count:max(1, count // 5)][:5]
    for number, owner in enumerate(owners):
        owner.ok("backup", data.photos(lab.path(f"photos-{owner.name}"), 1, seed=number))
    time.sleep(25)
    marks = {device: device.mark() for device in devices}
    began = time.monotonic()
    ports(hub, count, hub.space.up)
    time.sleep(30)
    lab.sheet.note(f"quiet {quiet(devices, 600)} after the meeting")
    late, pairs, worst = meetings(devices, marks, began)
    lab.sheet.note(f"{pairs} pairs had shards to hand over, the last of them met after {worst:.1f} s")
    lab.sheet.none(f"pairs with work that met after more than 10 s, of {pairs}", late)
    if not pairs:
        raise Broken("nobody had work")

    looked = lab.add(capture.Capture(hub.space, "br0", lab.path("idle.pcap"), snap=200))
    before = {device: device.cpu() for device in devices}
    marks = {device: device.mark() for device in devices}
    began = time.monotonic()
    time.sleep(idle)
    took = time.monotonic() - began
    cpus = {device.name: 100 * (device.cpu() - before[device]) / took for device in devices}
    met = [f"{device.name} at {at - began:.0f} s" for device in devices for at, _ in device.since(marks[device], "met")]
    memory = {device.name: device.memory() for device in devices}
    beacons = [one for one in looked.datagrams() if BEACON in (one.sport, one.dport) or len(one.payload) == 96]
    others = [one for one in looked.datagrams() if one not in set(beacons)]
    lab.sheet.none(f"encounters in {idle} idle s", met)
    lab.sheet.none("datagrams that are no beacons", [f"{o.source} to {o.target}, {len(o.payload)} bytes" for o in others])
    lab.sheet.most("CPU of the busiest idle node", max(cpus.values()), 0.1, "%", 3)
    rate = sum(one.frame_bytes for one in beacons) * 8 / took / 1000
    lab.sheet.most(f"beacons of all {count}, with their headers", rate, 2.0, "kbit/s")
    mib = 1 << 20
    lab.sheet.most("resident memory of the largest node", max(rss for rss, _ in memory.values()) / mib, 60, "MiB", 1)
    lab.sheet.note(f"proportional memory of the largest node: {max(pss for _, pss in memory.values()) / mib:.1f} MiB")


def ports(hub, count, change):
    for number in range(count):
        change(f"to-n{number}")


def quiet(devices, patience):
    """Waits until nobody has heard of anything for longer than a proof that came late is waited with at
    first. Returns how long that took, in words: what does not become quiet shows in the idle figures."""
    began = time.monotonic()
    while True:
        last = max((device.since(0)[-1][0] for device in devices if device.since(0)), default=0)
        now = time.monotonic()
        if now - last > 75:
            return f"{max(0.0, last - began):.0f} s"
        if now > began + patience:
            return f"not within {patience} s"
        time.sleep(1)


def meetings(devices, marks, began):
    """Returns the pairs with work that met late, the number of pairs with work, and the latest."""
    names = {device.id: device for device in devices}
    member = {device.status()["member"]: device for device in devices}
    late, pairs, worst = [], set(), 0.0
    for holder in devices:
        for _, kept in holder.since(marks[holder], "kept"):
            pairs.add((member[kept["owner"]], holder))
    for owner, holder in pairs:
        met = [at for at, n in holder.since(marks[holder], "met") if names.get(n["device"]) is owner]
        after = min(met, default=float("inf")) - began
        worst = max(worst, after)
        if after > 10:
            late.append(f"{owner.name} and {holder.name} after {after:.1f} s")
    return late, len(pairs), worst
