"""Serves the local ERP until standard input ends, which it does when the
program that started this one dies, by whatever signal."""
import os
import runpy
import sys
import threading


def watch():
    # Only the descriptor: a buffered reader holds a lock that the
    # interpreter wants at exit.
    while os.read(0, 4096):
        pass
    os._exit(0)


threading.Thread(target=watch, daemon=True).start()

import werkzeug.serving  # noqa: E402

# One request at a time: SQLite has one writer, and requests that wait for it
# inside their transactions fail, or give two records one number.
turn, run_simple = threading.Lock(), werkzeug.serving.run_simple


def in_turn(hostname, port, app, **options):
    def one_at_a_time(environ, start_response):
        with turn:
            return app(environ, start_response)
    run_simple(hostname, port, one_at_a_time, **options)


werkzeug.serving.run_simple = in_turn

sys.argv[0] = 'trytond'
try:
    from trytond.cli import main
except ImportError:
    # Up to series 7.0 the program is a script of the environment's.
    runpy.run_path(
        os.path.join(os.path.dirname(sys.executable), 'trytond'),
        run_name='__main__')
else:
    main()
