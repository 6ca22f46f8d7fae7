"""Syncthing in a namespace, for comparison: local announcements on, everything else outside off."""

import json
import os
import re
import signal
import subprocess
import time

import data
from namespace import Broken

FOLDER = "photos"


class Syncthing:
    """One node, with one shared folder."""

    def __init__(self, dir, name, space, folder, port):
        self.name, self.space, self.folder, self.port = name, space, folder, port
        self.home = os.path.join(dir, "syncthing-" + name)
        self.env = dict(os.environ, HOME=self.home, STNORESTART="1", STNOUPGRADE="1")
        os.makedirs(self.home)
        os.makedirs(folder, exist_ok=True)
        space.run("syncthing", "generate", f"--home={self.home}", "--no-default-folder", env=self.env)
        self.id = space.run("syncthing", f"--home={self.home}", "--device-id", env=self.env).stdout.strip()
        self.key = "lab"
        self.node = None

    def configure(self, other, kind):
        """Shares the folder with another node, found by announcements alone."""
        folder = f"""
    <folder id="{FOLDER}" label="" path="{self.folder}" type="{kind}" rescanIntervalS="3600"
            fsWatcherEnabled="false" ignorePerms="false" autoNormalize="true">
        <device id="{self.id}"></device><device id="{other.id}"></device>
        <minDiskFree unit="%">0</minDiskFree>
    </folder>
    <device id="{self.id}" name="{self.name}"><address>dynamic</address></device>
    <device id="{other.id}" name="{other.name}" compression="metadata"><address>dynamic</address></device>"""
        path = os.path.join(self.home, "config.xml")
        with open(path, encoding="utf-8") as file:
            config = file.read()
        config = re.sub(r"\s*<device id=.*?</device>", "", config, flags=re.S)
        config = re.sub(r"\s*<folder id=.*?</folder>", "", config, flags=re.S)
        config = re.sub(r"(<configuration[^>]*>)", lambda found: found[1] + folder, config, count=1)
        config = re.sub(r"<apikey>.*?</apikey>", f"<apikey>{self.key}</apikey>", config)
        config = re.sub(r"<address>127.0.0.1:\d+</address>", f"<address>127.0.0.1:{self.port}</address>", config)
        for option in ("globalAnnounceEnabled", "relaysEnabled", "natEnabled", "startBrowser",
                       "crashReportingEnabled"):
            config = re.sub(f"<{option}>true</{option}>", f"<{option}>false</{option}>", config)
        config = re.sub(r"<urAccepted>.*?</urAccepted>", "<urAccepted>-1</urAccepted>", config)
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)

    def start(self):
        log = open(self.home + ".log", "wb")
        self.node = self.space.start("syncthing", "serve", f"--home={self.home}", "--no-browser",
                                     env=self.env, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while self.ask("system/status") is None:
            if time.monotonic() > end:
                raise Broken(f"syncthing {self.name} does not answer")
            time.sleep(0.2)

    def ask(self, what):
        """Asks the node's own interface; nothing if it doesn't answer."""
        done = self.space.run(
            "python3", "-c",
            "import sys, urllib.request as r;"
            "q = r.Request(sys.argv[1], headers={'X-API-Key': sys.argv[2]});"
            "sys.stdout.write(r.urlopen(q, timeout=5).read().decode())",
            f"http://127.0.0.1:{self.port}/rest/{what}", self.key, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def restart(self):
        """Ends the node and starts it again: over a dead link it may keep a connection for many minutes."""
        for pid in [*children(self.node.pid), self.node.pid]:
            os.kill(pid, signal.SIGKILL)
        self.node.wait(20)
        self.start()

    def until_scanned(self, files, patience=300):
        end = time.monotonic() + patience
        while True:
            found = self.ask(f"db/status?folder={FOLDER}")
            if found and found["state"] == "idle" and found["localFiles"] >= files:
                return
            if time.monotonic() > end:
                raise Broken(f"syncthing {self.name} is not ready: {found}")
            time.sleep(0.5)

    def arrived(self):
        """Returns the bytes of the folder's files on this disk, of those under way too."""
        return data.on_disk(self.folder)

    def whole(self):
        """Tells whether no file is under way."""
        return not any(name.startswith(".syncthing.") for name in os.listdir(self.folder))

    def first_byte(self, patience, pause=0.005):
        """Waits for a new byte in the folder. Returns its time, or nothing."""
        before = self.arrived()
        end = time.monotonic() + patience
        while time.monotonic() < end:
            at = time.monotonic()
            if self.arrived() > before:
                return at
            time.sleep(pause)
        return None

    def cpu(self):
        """Returns the CPU seconds of the node and the process that watches it."""
        total = 0
        for pid in [self.node.pid, *children(self.node.pid)]:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                fields = file.read().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total


def children(pid):
    done = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]


def couple(lab, a, b, folder):
    """Starts two nodes of which the second has nothing of the folder yet. They have not met when
    the wire between them is down."""
    one = Syncthing(lab.dir, "one", a, folder, 18_384)
    other = Syncthing(lab.dir, "other", b, lab.path("syncthing-copy"), 18_385)
    one.configure(other, "sendonly")
    other.configure(one, "receiveonly")
    one.start()
    one.until_scanned(sum(not name.startswith(".") for name in os.listdir(folder)))
    other.start()
    other.until_scanned(0)
    return one, other
