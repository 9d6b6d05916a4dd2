"""Serves the local ERP until standard input ends, which it does when the
program that started this one dies, by whatever signal."""
import os
import sys
import threading


def watch():
    # Only the descriptor: a buffered reader holds a lock that the
    # interpreter wants at exit.
    while os.read(0, 4096):
        pass
    os._exit(0)


threading.Thread(target=watch, daemon=True).start()

from trytond.cli import main  # noqa: E402

sys.argv[0] = 'trytond'
main()
