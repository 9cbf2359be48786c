"""An application that leaves a thread behind at import."""

from __future__ import annotations

import os
import threading

from jobwarden.app import JobWarden

jw = JobWarden()
if "JOBWARDEN_SEAT" not in os.environ:
    threading.Thread(target=threading.Event().wait, name="metrics-exporter", daemon=True).start()


@jw.job(idempotent=True, name="who")
def who() -> int:
    return os.getpid()
