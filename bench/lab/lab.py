"""What every scenario gets: a place on disk, the sheet, and an end to everything it began."""

import os
import shutil

import namespace


class Lab:
    """One scenario's surroundings. LAB_KEEP leaves its homes and logs behind."""

    def __init__(self, sheet, form):
        self.sheet, self.form = sheet, form
        self.things = []
        self.round = 0
        self.reset()

    @property
    def short(self):
        """Whether this is the form for every change: a busy machine, minutes in all."""
        return self.form == "short"

    def of(self, short, plain, all=None):
        """Returns the count for this form."""
        if self.short:
            return short
        return plain if self.form != "all" or all is None else all

    def add(self, thing):
        """Remembers something that is to be closed at the end."""
        self.things.append(thing)
        return thing

    def space(self, name):
        return self.add(namespace.Namespace(name))

    def path(self, name):
        return os.path.join(self.dir, name)

    def reset(self):
        """Ends everything that was begun, for another start in the same scenario."""
        if self.round:
            self.close()
        self.round += 1
        place = os.path.join(os.environ.get("LAB_DIR", "/tmp"), namespace.PREFIX)
        self.dir = os.path.join(place, f"{self.sheet.scenario}-{self.round}")
        os.makedirs(self.dir)

    def close(self):
        for thing in reversed(self.things):
            thing.close()
        self.things = []
        if "LAB_KEEP" not in os.environ:
            shutil.rmtree(self.dir, ignore_errors=True)
