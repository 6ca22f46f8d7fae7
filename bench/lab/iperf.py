"""iperf3 over the same wire: what TCP makes of it."""

import json
import subprocess
import time

from namespace import Broken


def rate(a, b, address, seconds):
    """Returns the payload bytes per second that one TCP connection brings from `a` to `b`."""
    server = b.start("iperf3", "-s", "-1", "-B", address, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    done = a.run("iperf3", "-c", address, "-t", str(seconds), "-J", check=False)
    server.wait(10)
    try:
        return json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] / 8
    except (ValueError, KeyError):
        raise Broken(f"iperf3: {done.stdout[-300:]}{done.stderr[-300:]}") from None


def control():
    """Returns the name of the congestion control that TCP uses here."""
    with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="ascii") as file:
        return file.read().strip()
