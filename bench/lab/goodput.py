"""How much of the wire becomes durable shards at the friend, and what that costs."""

import shutil
import time

import data
import iperf
import syncthing
import wire
from device import Device, meet, strangers
from namespace import Broken
from shaper import Shaper

TITLE = "goodput beside iperf3 and Syncthing"
TOOLS = ["tc", "iperf3"]
# More than any link here carries, in bytes per second.
RATE_MAX = 10**9


def run(lab):
    if lab.short:
        # Loosened: iperf3 takes no processor to speak of, sealing and coding do, and so do others.
        return shaped(lab, 100, 64, 0.80, 4)
    shaped(lab, 1000, 1536, 0.92, 6)
    shaped(lab, 100, 256, 0.94, 10)
    lossy(lab, 100, 20, 0.1, 160, 0.80, 20)
    unshaped(lab, 1536)


def couple(lab, a, b, mib):
    """Two devices that know each other, and a backup that waits. The wire is down."""
    # A link with delay is far, and far ones are held back unless told otherwise.
    owner, friend = (Device(lab.dir, name, space, direct_rate=RATE_MAX) for name, space in (("ada", a), ("ben", b)))
    meet(owner, friend)
    b.down(b.device)
    owner.ok("backup", data.photos(lab.path("photos"), mib))
    strangers(lab, owner, friend)
    return owner, friend


def ends(lab, join):
    """Two namespaces, joined in some way."""
    a, b = lab.space("a"), lab.space("b")
    a.device = b.device = join(a, b)
    a.address(a.device, "10.63.0.1/24")
    b.address(b.device, "10.63.0.2/24")
    a.up(a.device)
    b.up(b.device)
    return a, b


def veth(a, b):
    wire.pair(a, "eth0", b, "eth0")
    return "eth0"


def measure(lab, name, owner, friend, mib):
    """Lets them meet; returns the rate and prints what it cost."""
    mark = friend.mark()
    before = owner.cpu(), friend.cpu()
    friend.space.up(friend.space.device)
    first = friend.first_byte(60)
    if first is None:
        raise Broken("no byte within 60 s")
    end = time.monotonic() + 900
    while owner.status()["bytes_only_here"] > 0:
        if time.monotonic() > end:
            raise Broken("not everything had come within 900 s")
        time.sleep(1)
    kept = friend.since(mark, "kept")
    bytes = sum(n["bytes"] for _, n in kept)
    took = kept[-1][0] - first
    gib = bytes / (1 << 30)
    lab.sheet.note(f"{name}: {bytes >> 20} MiB in {took:.2f} s; CPU seconds per GiB: "
                   f"sender {(owner.cpu() - before[0]) / gib:.2f}, receiver {(friend.cpu() - before[1]) / gib:.2f}")
    if bytes < mib << 20:
        raise Broken(f"only {bytes} bytes came")
    return bytes / took


def beside(lab, name, rate, other, share):
    lab.sheet.note(f"{name}: Carryall {rate / 1e6:.2f} MB/s, iperf3 {other / 1e6:.2f} MB/s by TCP with {iperf.control()}")
    lab.sheet.least(f"{name}: share of iperf3", 100 * rate / other, 100 * share, "%", 1)


def shaped(lab, mbit, mib, share, seconds):
    a, b = ends(lab, veth)
    for space in (a, b):
        wire.shape(space, "eth0", mbit)
    other = iperf.rate(a, b, "10.63.0.2", seconds)
    owner, friend = couple(lab, a, b, mib)
    rate = measure(lab, f"{mbit} Mbit/s", owner, friend, mib)
    beside(lab, f"{mbit} Mbit/s", rate, other, share)
    lab.reset()


def lossy(lab, mbit, delay_ms, loss_percent, mib, share, seconds):
    """The delay is one way: a round trip takes twice as long."""
    def join(a, b):
        a.shaper = lab.add(Shaper(a, b, mbit, delay_ms, loss_percent))
        return "tun0"

    a, b = ends(lab, join)
    name = f"{mbit} Mbit/s, {2 * delay_ms} ms round trip, {loss_percent} % lost"
    # TCP needs a while to find its rate among losses.
    other = iperf.rate(a, b, "10.63.0.2", seconds)
    owner, friend = couple(lab, a, b, mib)
    rate = measure(lab, name, owner, friend, mib)
    beside(lab, name, rate, other, share)
    lab.reset()


def unshaped(lab, mib):
    a, b = ends(lab, veth)
    other = iperf.rate(a, b, "10.63.0.2", 4)
    owner, friend = couple(lab, a, b, mib)
    rate = measure(lab, "unshaped", owner, friend, mib)
    owner.stop()
    friend.stop()
    lab.sheet.note(f"unshaped: Carryall {rate / (1 << 20):.1f} MiB/s, iperf3 {other / (1 << 20):.1f} MiB/s")
    if shutil.which("syncthing") is None:
        return lab.sheet.note("without syncthing there is nothing to compare with")
    syncthings = against(lab, a, b, mib)
    lab.sheet.note(f"unshaped: Syncthing {syncthings / (1 << 20):.1f} MiB/s")
    lab.sheet.least("unshaped: times the rate of Syncthing", rate / syncthings, 4, "times")
    lab.reset()


def against(lab, a, b, mib):
    """Returns the rate at which Syncthing brings the same files over the same wire."""
    b.down("eth0")
    one, other = syncthing.couple(lab, a, b, lab.path("photos"))
    before = one.cpu(), other.cpu()
    b.up("eth0")
    first = other.first_byte(120)
    if first is None:
        raise Broken("Syncthing did not meet")
    end = time.monotonic() + 600
    while other.arrived() < mib << 20 or not other.whole():
        if time.monotonic() > end:
            raise Broken("Syncthing did not finish")
        time.sleep(0.02)
    took = time.monotonic() - first
    gib = mib / 1024
    lab.sheet.note(f"Syncthing: {mib} MiB in {took:.2f} s; CPU seconds per GiB: sender "
                   f"{(one.cpu() - before[0]) / gib:.2f}, receiver {(other.cpu() - before[1]) / gib:.2f}")
    return (mib << 20) / took
