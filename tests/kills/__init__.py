"""Commands killed at random moments and at file events, then run again to their end: the same bits must come out.

    python -m tests.kills                          # every command, one minute each
    python -m tests.kills prepare --seconds 600    # one command, ten minutes

Each file here that defines `SCENARIOS` adds to what is killed; `frame.py` says what a scenario is.
"""
