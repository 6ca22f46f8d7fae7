"""A network namespace, and what runs in it."""

import os
import signal
import subprocess

PREFIX = os.environ.get("LAB_PREFIX", f"cl{os.getpid()}")


class Broken(Exception):
    """The lab itself could not do its part; says nothing about the program."""


def sh(*args, check=True):
    """Runs a command of the machine, and returns what it printed."""
    done = subprocess.run([str(arg) for arg in args], capture_output=True, text=True)
    if check and done.returncode:
        raise Broken(f"{' '.join(map(str, args))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Namespace:
    """A namespace with a name of this run's own. `close` ends everything in it."""

    def __init__(self, name):
        self.name = f"{PREFIX}-{name}"
        self.children = []
        sh("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *args):
        """Runs `ip` for this namespace."""
        return sh("ip", "-n", self.name, *args)

    def argv(self, *args):
        """Returns a command that runs in this namespace."""
        return ["ip", "netns", "exec", self.name, *map(str, args)]

    def run(self, *args, check=True, **more):
        """Runs a command to its end."""
        done = subprocess.run(self.argv(*args), capture_output=True, text=True, **more)
        if check and done.returncode:
            raise Broken(f"{' '.join(map(str, args))}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def start(self, *args, **more):
        """Starts a command that goes on. Its process id is the command's own."""
        child = subprocess.Popen(self.argv(*args), **more)
        self.children.append(child)
        return child

    def address(self, device, *addresses):
        """Gives a device these addresses and no others of that family."""
        for old in self.addresses(device):
            if old not in addresses:
                self.ip("address", "del", old, "dev", device)
        for address in addresses:
            if address not in self.addresses(device):
                self.ip("address", "add", address, "brd", "+", "dev", device)

    def addresses(self, device):
        """Returns the IPv4 addresses of a device, with their prefix lengths."""
        lines = self.ip("-4", "-o", "address", "show", "dev", device).splitlines()
        return [line.split()[3] for line in lines]

    def up(self, device):
        self.ip("link", "set", device, "up")

    def down(self, device):
        self.ip("link", "set", device, "down")

    def close(self):
        for child in self.children:
            stop(child)
        for pid in sh("ip", "netns", "pids", self.name, check=False).split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        sh("ip", "netns", "delete", self.name, check=False)


def stop(child, patience=10):
    """Asks a process to end, and makes it."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
