"""A minute at 100 Mbit/s with far more waiting: what matters most has to be over."""

import filecmp
import os
import time

import data
import wire
from device import Device, meet, offer, strangers
from namespace import Broken

TITLE = "a minute at 100 Mbit/s, and what the friend alone brings back"
TOOLS = ["tc"]
TODAY_MIB = 300


def run(lab):
    gib = int(os.environ.get("LAB_WAITING_GIB", "10"))
    one_minute(lab, "today's in a second backup", gib, apart=True)
    lab.reset()
    one_minute(lab, "all in one backup", gib, apart=False)


def one_minute(lab, name, gib, apart):
    a, b = lab.space("a"), lab.space("b")
    wire.pair(a, "eth0", b, "eth0")
    a.address("eth0", "10.64.0.1/24")
    b.address("eth0", "10.64.0.2/24")
    for space in (a, b):
        space.up("eth0")
        wire.shape(space, "eth0", 100)
    owner, friend = Device(lab.dir, "ada", a), Device(lab.dir, "ben", b)
    words = meet(owner, friend)
    offer(friend, owner, "100GiB")
    owner.until("offered enough", lambda status: status["members"][0]["offered_to_me"] >= 100 << 30, 30)
    b.down("eth0")
    photos = lab.path("photos")
    # Names that sort today's last, where neither the alphabet nor the walk helps.
    old, today = os.path.join(photos, "a-older"), os.path.join(photos, "z-today")
    for part in range(gib):
        data.photos(os.path.join(old, str(part)), 1024, seed=100 + part, age_days=30 + 10 * (gib - part))
    if apart:
        owner.ok("backup", photos)
        data.photos(today, TODAY_MIB, seed=99)
        owner.ok("backup")
    else:
        data.photos(today, TODAY_MIB, seed=99)
        owner.ok("backup", photos)
    snapshots = snapshot_ids(owner)
    strangers(lab, owner, friend)

    b.up("eth0")
    if friend.first_byte(30) is None:
        raise Broken("no byte within 30 s")
    time.sleep(60)
    b.down("eth0")
    lab.sheet.note(f"{name}: {friend.arrived() >> 20} MiB came in the minute")
    owner.kill()

    # The owner's device is gone; its files are kept here only to compare.
    c = lab.space("c")
    wire.pair(b, "eth1", c, "eth0")
    b.address("eth1", "10.65.0.1/24")
    c.address("eth0", "10.65.0.2/24")
    b.up("eth1")
    c.up("eth0")
    heir = Device(lab.dir, "heir", c)
    heir.ok("recover", "--name", "ada", input=f"{words}\n{friend.invite('back')}\n")
    heir.start()
    heir.until("in possession of its keys", lambda status: status["snapshots"] >= 1, 60)
    found = snapshot_ids(heir)
    lab.sheet.none(f"{name}: heads that are missing", [one for one in snapshots if one not in found])
    code, listed, errors = heir.run("ls", "--recursive", patience=300)
    names = {os.path.basename(line.get("path", "")) for line in listed}
    wanted = [file for _, _, files in os.walk(photos) for file in files]
    lab.sheet.none(f"{name}: files without metadata", [file for file in wanted if file not in names])
    to = lab.path("back")
    code, lines, errors = heir.run("restore", "latest:/photos/z-today", "--to", to, patience=600)
    if code not in (0, 3, 5):
        raise Broken(f"restore ended with {code}: {errors.strip()}")
    back = {file: os.path.join(folder, file) for folder, _, files in os.walk(to) for file in files}
    lost = [file for file in sorted(os.listdir(today))
            if file not in back or not filecmp.cmp(os.path.join(today, file), back[file], shallow=False)]
    lab.sheet.none(f"{name}: today's photos that don't come back, of {len(os.listdir(today))}", lost)


def snapshot_ids(device):
    code, lines, _ = device.run("snapshots")
    rows = [row for line in lines for row in line.get("snapshots", [line])]
    return [row["id"] for row in rows if "id" in row]
