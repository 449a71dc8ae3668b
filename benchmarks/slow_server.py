"""`python -m slow_server serve ...`: `emow2v serve` for sound that comes EMOW2V_SLOWER times more slowly (`benchmarks/live.py`)."""

import os

from emow2v.cli.main import main


def rest_longer(times: float) -> None:
    try:
        from emow2v.server.live import steps
    except ImportError:  # a version whose streams do not rest
        return
    steps.REST_S *= times
    steps.REST_OF_FRAMES_S *= times


if __name__ == "__main__":
    rest_longer(float(os.environ["EMOW2V_SLOWER"]))
    main()
