"""What a listener hears: two networks, the same two devices, and nothing that ties them together."""

import base64
import glob
import json
import os
import re
import struct
import time

import capture
import data
import initial
import namespace
import wire
from device import SILENCE, Device, meet
from namespace import Broken

TITLE = "packet captures of two networks, and a scanner"
TOOLS = ["tcpdump"]
WINDOW = 8
# Bytes of payload compared from each network: the finding, the handshake and the first megabytes.
COMPARED = 3 << 20
# Both nodes' clocks go on by so much between the networks, else names of the same quarter of an
# hour would rightly be the same in both.
LATER = 2 * 3600
CLOCKS = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")

# What may be the same in any two captures: TLS and QUIC say it, whoever speaks. Only in the opened
# first packets; outside of them nothing may. TLS shuffles its extensions, QUIC its parameters.
CONSTANTS = {
    "TLS: ciphers, compression": rb"\x00\x00\x06\x13\x02\x13\x01\x13\x03\x01\x00",
    "TLS: what the server chose": rb"\x00\x13[\x01-\x03]\x00",
    "TLS: point formats": rb"\x00\x0b\x00\x02\x01\x00",
    "TLS: raw public keys, either side's": rb"\x00[\x13\x14]\x00\x02\x01\x02",
    "TLS: extended master secret": rb"\x00\x17\x00\x00",
    "TLS: version 1.3, offered": rb"\x00\x2b\x00\x03\x02\x03\x04",
    "TLS: version 1.3, chosen": rb"\x00\x2b\x00\x02\x03\x04",
    "TLS: signatures, Ed25519": rb"\x00\x0d\x00\x04\x00\x02\x08\x07",
    "TLS: groups": rb"\x00\x0a\x00\x08\x00\x06\x00\x1d\x00\x17\x00\x18",
    "TLS: head of the client's key share": rb"\x00\x33\x00\x26\x00\x24\x00\x1d\x00\x20",
    "TLS: head of the server's key share": rb"\x00\x33\x00\x24\x00\x1d\x00\x20",
    "TLS: head of the protocol's name": rb"\x00\x10\x00\x13\x00\x11\x10",
    "TLS: key exchange modes": rb"\x00\x2d\x00\x02\x01\x01",
    "TLS: status request": rb"\x00\x05\x00\x05\x01\x00\x00\x00\x00",
    "TLS: head of the parameters": rb"\x00\x39\x00.",
    "TLS: head of the client's hello": rb"\x06\x00\x41.\x01\x00.{2}\x03\x03",
    "TLS: head of the server's hello, after an acknowledgement": rb"\x00\x00\x01\x00\x00\x06\x00\x40\x5a\x02\x00\x00\x56\x03\x03",
    "QUIC: data allowed": rb"[\x04-\x07](?:\x04[\x80-\xbf].{3}|\x08[\xc0-\xff].{7})",
    "QUIC: streams allowed": rb"[\x08\x09](?:\x01[\x00-\x3f]|\x02[\x40-\x7f].)",
    "QUIC: idle timeout": rb"\x01\x04[\x80-\xbf].{3}",
    "QUIC: longest datagram": rb"\x03\x02[\x40-\x7f].",
    "QUIC: connection ids": rb"\x0e\x01[\x00-\x3f]",
    "QUIC: paths": rb"\x3e\x01[\x00-\x3f]",
    "QUIC: acknowledgement delay": rb"\xc0\x00\x00\x00\xff\x04\xde\x1b\x02[\x40-\x7f].",
    "QUIC: addresses exchanged": rb"\xc0\x00\x3d\x7f\x91\x12\x04\x01\x01[\x00-\x3f]",
}
KNOWN = re.compile(b"|".join(CONSTANTS.values()), re.DOTALL)


def run(lab):
    initial.check()
    if not CLOCKS:
        raise Broken("libfaketime is missing: apt-get install faketime")
    hub = lab.add(wire.Switch())
    a, b = lab.space("a"), lab.space("b")
    hub.plug(a, "to-a", "10.73.0.1/24")
    hub.plug(b, "to-b", "10.73.0.2/24")
    clock = lab.path("clock")
    set_clock(clock, 0)
    env = {"LD_PRELOAD": CLOCKS[0], "FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
           "DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1", "NO_FAKE_STAT": "1"}
    owner = Device(lab.dir, "Rosalind-Canary", a, env)
    friend = Device(lab.dir, "Grace-Petname", b, env)
    meet(owner, friend)
    owner.ok("friends", "rename", "Grace-Petname", "Secret-Nickname")
    hub.space.down("to-b")
    for device in (owner, friend):
        device.restart()
    heard = []
    for number, net in enumerate(("10.74.0", "10.75.0")):
        a.address("eth0", f"{net}.11/24")
        b.address("eth0", f"{net}.22/24")
        set_clock(clock, number * LATER)
        owner.ok("backup", data.photos(lab.path("photos"), 8 * (number + 1), seed=1))
        looked = lab.add(capture.Capture(hub.space, "br0", lab.path(f"net{number}.pcap"), "udp or tcp"))
        mark = owner.mark()
        hub.space.up("to-b")
        owner.until("safe", lambda status: status["bytes_only_here"] == 0, 90)
        if owner.wait_met(friend, 1, mark) is None:
            raise Broken("they did not meet on the new network")
        time.sleep(1)
        hub.space.down("to-b")
        looked.close()
        heard.append([one for one in looked.datagrams() if one.source.startswith(net)])
        if number == 0:
            # The same nodes go to the other network, without a link of the first.
            time.sleep(SILENCE)
    judge(lab, owner, friend, heard)
    scanned(lab, hub, owner)


def set_clock(path, seconds):
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(f"+{seconds}s\n")
    os.replace(path + ".new", path)


def judge(lab, owner, friend, heard):
    opened = [initial.openings(one) for one in heard]
    for number in (0, 1):
        bytes = sum(len(one.payload) for one in heard[number])
        beacons = sum(len(one.payload) == 96 for one in heard[number])
        hellos = len(opened[number])
        lab.sheet.add(f"network {number + 1}: beacons, first packets opened, bytes",
                      f"{beacons}, {hellos}, {bytes}", "all three", beacons > 1 and hellos > 1 and bytes > 4 << 20)
    for name, form, needle in needles(owner, friend):
        for number in (0, 1):
            found = [one for one in heard[number] if needle in one.payload]
            found += [one for one in opened[number] if needle in one]
            if found:
                lab.sheet.add(f"network {number + 1}: {name} as {form}", f"in {len(found)} packets", "none", False)
    lab.sheet.none("ids and names in the captures", [
        name for name, form, needle in needles(owner, friend)
        if any(needle in one.payload for side in heard for one in side)
        or any(needle in one for side in opened for one in side)])
    shared = windows([one.payload for one in heard[0]]) & windows([one.payload for one in heard[1]])
    lab.sheet.none("strings of 8 bytes that both networks' packets share", [hex8(one) for one in shared])
    pieces = [[piece for one in side for piece in KNOWN.split(one) if piece] for side in opened]
    inside = windows(pieces[0]) & windows(pieces[1])
    lab.sheet.none(f"the same of the opened first packets, beyond {len(CONSTANTS)} listed constants of TLS and QUIC",
                   [hex8(one) for one in inside])


def scanned(lab, hub, owner):
    """A stranger on the same switch, who knows no secret of the circle, knocks at the node."""
    c = lab.space("c")
    hub.plug(c, "to-c", "10.75.0.33/24")
    links = owner.space.run("ss", "-H", "-u", "-l", "-n", "-p").stdout
    ports = {int(found) for found in re.findall(rf"(?:0\.0\.0\.0|\*):(\d+).*pid={owner.pid},", links)}
    ports -= {47_473}
    looked = lab.add(capture.Capture(c, "eth0", lab.path("stranger.pcap"), "udp"))
    done = c.run(scanner(), *[f"10.75.0.11:{port}" for port in sorted(ports)], check=False)
    looked.close()
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    own = [one for one in answers if one["knock"] == "own"]
    knocks = [one for one in answers if one["knock"] != "own"]
    lab.sheet.add("the stranger sees the certificate of a listener whose name it knows",
                  bool(own and own[0]["certificate"]), True, bool(own and own[0]["certificate"]))
    lab.sheet.add("knocks without the circle's name", len(knocks), "3 or more", len(knocks) >= 3)
    lab.sheet.none("knocks that were shown a certificate", [one["knock"] for one in knocks if one["certificate"]])
    calls = [one for one in looked.datagrams() if one.source == "10.75.0.33" and one.dport in ports]
    back = [one for one in looked.datagrams() if one.target == "10.75.0.33" and one.sport in ports]
    lab.sheet.note(f"{len(calls)} datagrams of the stranger, {len(back)} answers: "
                   + ", ".join(f"{one['knock']}: {one['end']}" for one in knocks))


def scanner():
    """Returns the stranger's program, built as the tests build it."""
    if "SCANNER" in os.environ:
        return os.environ["SCANNER"]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    namespace.sh("cargo", "build", "--locked", "--quiet", "--package", "carryall-net", "--example", "scanner",
                 "--manifest-path", os.path.join(root, "Cargo.toml"))
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(root, "target"))
    return os.path.join(target, "debug", "examples", "scanner")


def needles(owner, friend):
    """Returns everything that must not be heard, in every form: name, form, bytes."""
    known = {}
    for one in (owner, friend):
        status = one.status()
        known[f"{one.name}'s device"] = bytes.fromhex(status["device"])
        known[f"{one.name}'s member"] = bytes.fromhex(status["member"])
        known["the circle"] = bytes.fromhex(status["circle"])
    found = []
    for name, id in known.items():
        base32 = base64.b32encode(id).decode().rstrip("=")
        forms = {"raw": id, "hex": id.hex(), "HEX": id.hex().upper(), "base32": base32, "base32 in small": base32.lower(),
                 "z-base-32": zbase32(base32), "base64": base64.b64encode(id).decode()[:40],
                 "base64 for addresses": base64.urlsafe_b64encode(id).decode()[:40]}
        for form, text in forms.items():
            whole = text if isinstance(text, bytes) else text.encode()
            # A beginning gives as much away as the whole.
            found.append((name, form, whole[:WINDOW]))
            found.append((name, form + ", its middle", whole[12:12 + WINDOW]))
    for petname in (owner.name, friend.name, "Secret-Nickname"):
        for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
            found.append((petname, encoding, petname.encode(encoding)))
            found.append((petname, encoding + " in small", petname.lower().encode(encoding)))
        found.append((petname, "hex", petname.encode().hex().encode()))
    return found


def zbase32(base32):
    return base32.translate(str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "ybndrfg8ejkmcpqxot1uwisza345h769"))


def windows(payloads):
    """Returns all strings of 8 bytes of the first megabytes, as numbers."""
    found, left = set(), COMPARED
    for payload in payloads:
        if left <= 0:
            break
        left -= len(payload)
        for at in range(min(WINDOW, len(payload))):
            count = (len(payload) - at) // WINDOW
            found.update(struct.unpack_from(f"<{count}Q", payload, at))
    return found


def hex8(number):
    return struct.pack("<Q", number).hex()
