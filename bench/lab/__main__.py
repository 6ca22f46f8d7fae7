"""bench/lab.sh [short | all | N ...]: the scenarios in turn, one line per figure."""

import importlib
import shutil
import signal
import sys
import time
import traceback

from figure import Sheet
from lab import Lab
from namespace import Broken

SCENARIOS = {
    1: "encounter",
    2: "cuts",
    3: "goodput",
    4: "minute",
    5: "nearness",
    6: "crowd",
    7: "privacy",
    8: "floods",
}
# What every change is tried by, in a few minutes.
SHORT = [1, 2, 3, 5, 7, 8]


def main(words):
    if "--help" in words or "-h" in words:
        print(__doc__)
        for number, name in SCENARIOS.items():
            print(f"  {number}  {importlib.import_module(name).TITLE}")
        return 0
    form = next((word for word in words if word in ("short", "all")), "plain")
    numbers = [int(word) for word in words if word.isdigit()]
    unknown = [word for word in words if not word.isdigit() and word != form]
    if unknown or any(number not in SCENARIOS for number in numbers):
        print(__doc__, file=sys.stderr)
        return 2
    numbers = numbers or (SHORT if form == "short" else list(SCENARIOS))
    modules = {number: importlib.import_module(SCENARIOS[number]) for number in numbers}
    for number, module in modules.items():
        for tool in module.TOOLS:
            if shutil.which(tool) is None:
                print(f"scenario {number} wants {tool}, which is missing", file=sys.stderr)
                return 2
    sheet = Sheet()
    for number, module in modules.items():
        sheet.begin(number, module.TITLE)
        run(module, Lab(sheet, form))
        if form == "short" and sheet.forget():
            # Other work on the machine spoils a figure now and then; hardly the same one twice.
            sheet.note("once more, and that counts")
            run(module, Lab(sheet, form))
    return sheet.finish()


def run(module, lab):
    began = time.monotonic()
    try:
        module.run(lab)
    except Broken as why:
        lab.sheet.broken(why)
    except Exception as why:
        traceback.print_exc()
        lab.sheet.broken(repr(why))
    finally:
        lab.close()
    lab.sheet.note(f"took {time.monotonic() - began:.0f} s")


# What was set for all of the machine is put back then, too.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
sys.exit(main(sys.argv[1:]))
