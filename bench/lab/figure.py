"""Figures: what was measured beside what is wanted."""

import statistics
import sys


class Sheet:
    """All figures of a run. One line each; the exit code follows from them."""

    def __init__(self):
        self.rows = []
        self.scenario = ""

    def begin(self, number, title):
        self.scenario = str(number)
        print(f"\n== {number}. {title}", flush=True)

    def add(self, what, value, wanted, met, fact=False):
        """Adds a figure: its words, the value with its unit, what is wanted, whether that is met. A
        fact does not depend on how fast the machine is."""
        word = "met   " if met else "MISSED"
        print(f"{word} {self.scenario}: {what}: {value} (wanted: {wanted})", flush=True)
        self.rows.append((self.scenario, what, met, fact))

    def most(self, what, value, limit, unit, digits=2):
        """Adds a figure that may be at most `limit`. No value at all is a miss."""
        shown = "never" if value is None else f"{value:.{digits}f} {unit}"
        self.add(what, shown, f"<= {limit} {unit}", value is not None and value <= limit)

    def least(self, what, value, limit, unit, digits=2):
        """Adds a figure that must be at least `limit`."""
        shown = "nothing" if value is None else f"{value:.{digits}f} {unit}"
        self.add(what, shown, f">= {limit} {unit}", value is not None and value >= limit)

    def none(self, what, found):
        """Adds a figure that must be an empty list."""
        shown = "none" if not found else f"{len(found)}: {', '.join(map(str, found[:5]))}"
        self.add(what, shown, "none", not found, fact=True)

    def note(self, what):
        """Prints something beside the figures."""
        print(f"       {what}", flush=True)

    def broken(self, why):
        self.add("the scenario", f"did not get to its end: {why}", "to end", False, fact=True)

    def forget(self):
        """Forgets the figures of this scenario, if any was missed. Tells whether it did."""
        mine = [row for row in self.rows if row[0] == self.scenario]
        if all(met for _, _, met, _ in mine):
            return False
        self.rows = [row for row in self.rows if row[0] != self.scenario]
        return True

    def finish(self):
        """Prints the sum and returns the exit code: 1 if figures were missed, 3 if facts were."""
        missed = [f"{scenario}: {what}" for scenario, what, met, _ in self.rows if not met]
        print(f"\n{len(self.rows) - len(missed)} of {len(self.rows)} figures met", flush=True)
        for line in missed:
            print(f"missed {line}", flush=True)
        sys.stdout.flush()
        if not self.rows or any(fact and not met for _, _, met, fact in self.rows):
            return 3
        return 1 if missed else 0


def middle(values):
    """Returns the median; nothing if any is missing more than half of the time."""
    known = [value for value in values if value is not None]
    missing = len(values) - len(known)
    return statistics.median(known + [float("inf")] * missing) if values else None


def worst(values):
    """Returns the greatest; nothing if one is missing."""
    return None if not values or None in values else max(values)


def seconds(values):
    """Returns a list of times for people."""
    return " ".join("never" if value is None else f"{value:.2f}" for value in values) + " s"
