"""Follows a topic until it is told to end (SIGTERM) and prints each message
once, a line of JSON each.

Arguments: PROPERTIES TOPIC WINDOW print|positions|ids [DATABASE] [replays]; or
dump DATABASE.
"""

import signal
import sqlite3
import sys

from once import Once
from sinks import Ids, Positions, Printer


def properties(path):
    with open(path, encoding="utf-8") as file:
        pairs = (text.split("=", 1) for text in map(str.strip, file) if text and not text.startswith("#"))
        return {name.strip(): value.strip() for name, value in pairs}


def main(args):
    sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
    if args[0] == "dump":
        for (text,) in sqlite3.connect(args[1]).execute("SELECT line FROM shown ORDER BY rowid"):
            print(text)
        return
    # begin: main
    once = Once(properties(args[0]), look_back=int(args[2]), replays=args[-1] == "replays")
    if args[3] == "print":
        once.sink = Printer(once.consumer)
    elif args[3] == "positions":
        once.sink = Positions(sqlite3.connect(args[4]))
    elif args[3] == "ids":
        once.sink = Ids(sqlite3.connect(args[4]), once.consumer)
    signal.signal(signal.SIGTERM, lambda *_: setattr(once, "stopping", True))
    once.run(args[1])
    # end


if __name__ == "__main__":
    main(sys.argv[1:])
