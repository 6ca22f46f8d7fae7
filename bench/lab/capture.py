"""What goes over a wire, by tcpdump, and the UDP and TCP in it."""

import collections
import struct
import subprocess
import time

from namespace import Broken, stop

Datagram = collections.namedtuple("Datagram", "time source sport target dport payload frame_bytes")


class Capture:
    """A capture that runs until it is closed. Everything of each packet is kept, but for `snap`."""

    def __init__(self, space, device, path, filter="udp", snap=0):
        self.path = path
        self.process = space.start(
            "tcpdump", "-i", device, "-U", "-n", "-B", "65536", "-s", str(snap), "-w", path, *filter.split(),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        # It says that it listens once it does.
        line = self.process.stderr.readline()
        if b"listening" not in line:
            line += self.process.stderr.readline()
            if b"listening" not in line:
                raise Broken(f"tcpdump: {line.decode()}")

    def close(self):
        time.sleep(0.2)
        stop(self.process)

    def datagrams(self):
        """Returns the UDP datagrams and TCP segments with a payload so far, IPv4 and IPv6."""
        with open(self.path, "rb") as file:
            return list(datagrams(file.read()))


def datagrams(raw):
    if len(raw) < 24:
        return
    magic, = struct.unpack_from("<I", raw)
    fraction = 1e9 if magic == 0xA1B23C4D else 1e6
    link, = struct.unpack_from("<I", raw, 20)
    at = 24
    while at + 16 <= len(raw):
        seconds, part, kept, whole = struct.unpack_from("<IIII", raw, at)
        frame = raw[at + 16:at + 16 + kept]
        at += 16 + kept
        # 1: Ethernet. 101 and 12: bare IP, as from a TUN device.
        ip = frame[14:] if link == 1 else frame
        found = transported(ip)
        if found:
            yield Datagram(seconds + part / fraction, *found, whole)


def transported(ip):
    """Returns the ends and the payload of a datagram or segment; nothing for anything else."""
    if not ip:
        return None
    if ip[0] >> 4 == 4 and len(ip) >= 28:
        head, protocol = (ip[0] & 15) * 4, ip[9]
        end = struct.unpack_from(">H", ip, 2)[0] or len(ip)
        source, target = ".".join(map(str, ip[12:16])), ".".join(map(str, ip[16:20]))
    elif ip[0] >> 4 == 6 and len(ip) >= 48:
        head, protocol = 40, ip[6]
        end = struct.unpack_from(">H", ip, 4)[0] + 40
        source, target = ip[8:24].hex(), ip[24:40].hex()
    else:
        return None
    sport, dport = struct.unpack_from(">HH", ip, head)
    if protocol == 17:
        end = head + struct.unpack_from(">H", ip, head + 4)[0]
        payload = ip[head + 8:end]
    elif protocol == 6 and len(ip) >= head + 20:
        payload = ip[head + (ip[head + 12] >> 4) * 4:end]
        if not payload:
            return None
    else:
        return None
    return source, sport, target, dport, bytes(payload)
