"""Serves the emulator until it is stopped.

usage: python -m fleet ADDRESS PORT

Besides AWS's API, it has one call, with which tests play EC2's spot service:
POST /stand-in/rebalance/INSTANCE_ID recommends that a spot instance be replaced.
"""

import logging
import os
import sys
import threading
import time
from pathlib import Path

# moto reads this at its import. The tests use only Debian's image.
os.environ["MOTO_AMIS_PATH"] = str(Path(__file__).parent.parent / "images.json")

from moto.autoscaling.models import autoscaling_backends  # noqa: E402
from moto.core import DEFAULT_ACCOUNT_ID  # noqa: E402
from moto.elbv2.models import elbv2_backends  # noqa: E402
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)  # noqa: E402
from werkzeug.serving import run_simple  # noqa: E402

from . import corrections, scaling, targets  # noqa: E402

#: Seconds between two rounds of the stand-ins.
ROUND = 0.25
REGION = "eu-central-1"
REBALANCE = "/stand-in/rebalance/"


def main(address: str, port: int) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    corrections.apply()
    checks = targets.Checks(elbv2_backends[DEFAULT_ACCOUNT_ID][REGION])
    targets.stand_in(checks)
    groups = scaling.Scaling(autoscaling_backends[DEFAULT_ACCOUNT_ID][REGION], checks)
    scaling.stand_in(groups)
    # moto keeps everything in memory, and is not thread-safe.
    lock = threading.Lock()

    def rounds() -> None:
        while True:
            time.sleep(ROUND)
            with lock:
                try:
                    checks.tick()
                    groups.tick()
                except Exception:
                    logging.exception("a stand-in failed")

    def one_after_the_other(app):
        def serve(environ, start_response):
            path = environ["PATH_INFO"]
            with lock:
                if environ["REQUEST_METHOD"] == "POST" and path.startswith(REBALANCE):
                    groups.recommended.add(path.removeprefix(REBALANCE))
                    start_response("204 No Content", [])
                    return []
                answer = app(environ, start_response)
                try:
                    return [b"".join(answer)]
                finally:
                    getattr(answer, "close", lambda: None)()

        return serve

    threading.Thread(target=rounds, daemon=True).start()
    app = one_after_the_other(DomainDispatcherApplication(create_backend_app))
    run_simple(address, port, app, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
