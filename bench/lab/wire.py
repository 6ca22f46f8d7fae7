"""Wires between namespaces: a pair of virtual interfaces, and a switch."""

import os

from namespace import Namespace, sh


def pair(a, device_a, b, device_b):
    """Joins two namespaces by a pair of interfaces, both down."""
    # Names of interfaces have at most 15 bytes; both ends are moved away at once.
    sh("ip", "link", "add", device_a, "netns", a.name, "type", "veth",
       "peer", "name", device_b, "netns", b.name)


def shape(space, device, mbit, queue_ms=50):
    """Limits what leaves by a device, as a slower cable would."""
    # Two full segments of the largest offload fit; a burst of a millisecond on fast wires.
    burst = max(16 << 10, int(mbit * 1e6 / 8 / 1000))
    sh("tc", "-n", space.name, "qdisc", "replace", "dev", device, "root", "tbf",
       "rate", f"{mbit}mbit", "burst", burst, "latency", f"{queue_ms}ms")


class Switch:
    """A bridge in a namespace of its own. Every port is called after who is at its end."""

    def __init__(self, name="hub"):
        self.space = Namespace(name)
        self.space.ip("link", "add", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
        self.space.up("br0")

    def plug(self, space, port, address, device="eth0", up=True):
        """Connects a namespace; its interface is up, the port too unless told otherwise."""
        pair(space, device, self.space, port)
        self.space.ip("link", "set", port, "master", "br0")
        space.address(device, address)
        space.up(device)
        if up:
            self.space.up(port)

    def close(self):
        self.space.close()


class Neighbours:
    """Room for everybody's neighbours until closed. The kernel has one table for all namespaces of a
    machine; when that is full, packets to whoever is not in it yet are dropped. Real devices have a
    table each."""

    FILES = [f"/proc/sys/net/{family}/neigh/default/gc_thresh{n}" for family in ("ipv4", "ipv6") for n in (3, 2, 1)]

    def __init__(self, devices):
        self.before = {}
        for path in self.FILES:
            with open(path, encoding="ascii") as file:
                self.before[path] = file.read()
            # The address of each, and some of it old.
            if int(self.before[path]) < 2 * devices ** 2:
                self.set(path, 2 * devices ** 2)

    def set(self, path, value):
        with open(path, "w", encoding="ascii") as file:
            file.write(str(value))

    def close(self):
        for path in reversed(self.FILES):
            self.set(path, self.before[path])


def received(pid, device="eth0"):
    """Returns the bytes that an interface took in, seen from a process in its namespace."""
    return counter(pid, device, 0)


def sent(pid, device="eth0"):
    """Returns the bytes that left by an interface, seen from a process in its namespace."""
    return counter(pid, device, 8)


def counter(pid, device, column):
    """Returns one of the kernel's counters of an interface; 0 if there is no such interface."""
    with open(f"/proc/{pid}/net/dev", encoding="ascii") as lines:
        for line in lines:
            name, _, numbers = line.partition(":")
            if name.strip() == device:
                return int(numbers.split()[column])
    return 0


def exists(device, space):
    """Tells whether a namespace has this device."""
    return os.path.exists("/run/netns/" + space.name) and device in space.ip("-o", "link")
