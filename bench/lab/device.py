"""A device: a home, and its node while it runs, in a namespace."""

import json
import os
import signal
import subprocess
import threading
import time

import data
from namespace import Broken, stop

PROGRAM = os.environ.get("CARRYALL", "carryall")
TICK = os.sysconf("SC_CLK_TCK")
# Seconds after which a silent peer is given up, and a little more.
SILENCE = 23


class Device:
    """One device. Its commands and its node run in `space`."""

    def __init__(self, dir, name, space, env=None, **settings):
        self.name, self.space = name, space
        self.home = os.path.join(dir, name)
        self.env = dict(os.environ, CARRYALL_LOG=os.environ.get("CARRYALL_LOG", "off"), **(env or {}))
        self.node = None
        self.notices = []
        self.heard = threading.Condition()
        os.makedirs(self.home)
        settings = {"keep_free": 0, "watch": False, **settings}
        with open(os.path.join(self.home, "config.toml"), "w", encoding="utf-8") as file:
            for key, value in settings.items():
                file.write(f"{key} = {json.dumps(value)}\n")

    # Commands

    def run(self, *args, input="", patience=600):
        """Runs a command and returns its exit code and its lines."""
        argv = self.space.argv(PROGRAM, "--home", self.home, "--json", *args)
        try:
            done = subprocess.run(argv, input=input, capture_output=True, text=True,
                                  env=self.env, timeout=patience)
        except subprocess.TimeoutExpired:
            raise Broken(f"{self.name}: {' '.join(args)} took more than {patience} s") from None
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return done.returncode, lines, done.stderr

    def ok(self, *args, codes=(0, 4), **more):
        """Runs a command that must end well, and returns its last line."""
        code, lines, errors = self.run(*args, **more)
        if code not in codes:
            raise Broken(f"{self.name}: {' '.join(map(str, args))} ended with {code}: {errors.strip()}")
        return lines[-1] if lines else {}

    def init(self):
        """Founds a circle; returns the words."""
        words = self.ok("init", "--name", self.name)["words"]
        return words if isinstance(words, str) else " ".join(words)

    def invite(self, petname):
        return self.ok("invite", petname)["link"]

    def join(self, link):
        """Joins by a link; returns the words."""
        words = self.ok("join", "--name", self.name, input=link + "\n").get("words", "")
        return words if isinstance(words, str) else " ".join(words)

    def status(self):
        return self.ok("status")

    def until(self, what, condition, patience=60, pause=0.2):
        """Waits until the status fulfils a condition, and returns it."""
        end = time.monotonic() + patience
        while True:
            status = self.status()
            if condition(status):
                return status
            if time.monotonic() > end:
                raise Broken(f"{self.name}: not {what} within {patience} s: {status['headline']}")
            time.sleep(pause)

    # The node

    def start(self):
        """Starts the node, and returns once it answers."""
        self.log = open(self.home + ".log", "ab")
        self.node = self.space.start(PROGRAM, "--home", self.home, "--json", "run", env=self.env,
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log)
        threading.Thread(target=self._listen, args=(self.node,), daemon=True).start()
        if self.wait(lambda notice: notice.get("type") == "ready", 30) is None:
            raise Broken(f"{self.name}: the node does not answer; see its log")

    def _listen(self, node):
        for line in node.stdout:
            at = time.monotonic()
            try:
                notice = json.loads(line)
            except ValueError:
                continue
            self.log.write(f"{at:.3f} ".encode() + line)
            self.log.flush()
            with self.heard:
                self.notices.append((at, notice))
                self.heard.notify_all()

    @property
    def pid(self):
        return self.node.pid

    def stop(self):
        """Ends the node as a service manager would."""
        if self.node:
            stop(self.node)
            self.space.children.remove(self.node)
            self.node = None

    def restart(self):
        self.stop()
        self.start()

    def kill(self):
        """Ends the node as a power cut would."""
        self.node.send_signal(signal.SIGKILL)
        self.node.wait()
        self.space.children.remove(self.node)
        self.node = None

    def mark(self):
        """Returns a place in the notices, to wait from."""
        with self.heard:
            return len(self.notices)

    def since(self, mark, kind=None):
        """Returns what was heard since a mark, with its times."""
        with self.heard:
            found = self.notices[mark:]
        return [(at, notice) for at, notice in found if kind is None or notice["type"] == kind]

    def wait(self, condition, patience, mark=0):
        """Waits for a notice from a mark on. Returns its time and itself, or nothing."""
        end = time.monotonic() + patience
        with self.heard:
            while True:
                for at, notice in self.notices[mark:]:
                    if condition(notice):
                        return at, notice
                mark = len(self.notices)
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self.heard.wait(left)

    def wait_met(self, other, patience, mark=0):
        """Waits for an encounter with another device."""
        id = other.id
        return self.wait(lambda n: n["type"] == "met" and n["device"] == id, patience, mark)

    @property
    def id(self):
        if not hasattr(self, "_id"):
            self._id = self.status()["device"]
        return self._id

    # What it costs

    def cpu(self):
        """Returns the CPU seconds that the node has used."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self):
        """Returns the resident and the proportional bytes of the node."""
        found = {}
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as lines:
            for line in lines:
                words = line.split()
                if words[0] in ("Rss:", "Pss:"):
                    found[words[0]] = int(words[1]) << 10
        return found["Rss:"], found["Pss:"]

    # The shelf

    def arrived(self):
        """Returns the bytes of friends' shards that lie on this disk, whole and in parts. Parts
        have holes where nothing came yet, so what counts is blocks, not lengths."""
        return data.on_disk(os.path.join(self.home, "shelf"))

    def parts(self):
        """Returns what lies in parts: names and blocks."""
        found = {}
        with os.scandir(os.path.join(self.home, "shelf", "incoming")) as entries:
            for entry in entries:
                try:
                    found[entry.name] = entry.stat().st_blocks * 512
                except FileNotFoundError:
                    pass
        return found

    def shards(self):
        """Returns the whole shards on the shelf: paths by name."""
        found = {}
        for folder, _, names in os.walk(os.path.join(self.home, "shelf")):
            if os.path.basename(folder) != "incoming":
                for name in names:
                    found.setdefault(name, []).append(os.path.join(folder, name))
        return found

    def temporaries(self):
        """Returns files that only a transfer under way may have."""
        found = []
        for folder, _, names in os.walk(self.home):
            found += [name for name in names if name.endswith((".part", ".tmp", ".new"))]
        return found

    def first_byte(self, patience, pause=0.002):
        """Waits for a byte of a shard that is new on this disk: a part that grows, or a shard that
        is whole. Returns its time, or nothing. Feeds and messages never lie there."""
        before, mark = self.parts(), self.mark()
        end = time.monotonic() + patience
        while time.monotonic() < end:
            at = time.monotonic()
            for name, bytes in self.parts().items():
                if bytes > before.get(name, 0):
                    return at
            kept = self.since(mark, "kept")
            if kept:
                return kept[0][0]
            time.sleep(pause)
        return None


def meet(owner, friend, patience=60):
    """Makes two devices one circle. Both nodes run afterwards, and know each other. Returns the
    founder's words."""
    words = owner.init()
    owner.start()
    friend.join(owner.invite(friend.name))
    friend.start()
    for one, other in ((owner, friend), (friend, owner)):
        one.until("acquainted", lambda status: any(
            device["id"] == other.id for member in status["members"] for device in member["devices"]),
            patience)
    return words


def strangers(lab, *devices):
    """Has devices whose link is down give up what they had of each other. The short form starts
    them anew, which is quicker than silence."""
    if lab.short:
        for device in devices:
            device.restart()
    else:
        time.sleep(SILENCE)


def offer(holder, owner, amount):
    """Has a device keep more for another member than it does unasked."""
    member = owner.status()["member"]
    holder.ok("friends", "offer", member, amount)
