"""What a daemon tells its own log: all wording is here, none in the logic."""

from __future__ import annotations

import logging

log = logging.getLogger("jobwarden")


class Narrator:
    """One method for each thing worth telling an operator."""

    def started(self, role: str, worker_id: str, database: str, app: str, lanes: str, capacity: int) -> None:
        log.info(
            "%s %s started: app %s, database %s, lanes %s, capacity %d", role, worker_id, app, database, lanes, capacity
        )

    def ready(self, jobs: int, python: str) -> None:
        log.info("zygote ready: %d jobs registered, Python %s", jobs, python)

    def broken(self, error: str, trace: str, seconds: float) -> None:
        log.error("%s\n%s\nNext try in %.0f s; running attempts go on.", error, trace.rstrip(), seconds)

    def zygote_gone(self, status: int | None) -> None:
        log.warning("the zygote ended (wait status %s): a new one is started, its children are reaped here", status)

    def unable(self, error: str) -> None:
        log.warning("a seat could not be started (%s): tried again shortly", error)

    def fallback(self, reason: str) -> None:
        log.warning("seats are started as fresh interpreters, because forking is not safe: %s", reason)

    def unknown_job(self, job: str, seconds: float) -> None:
        log.warning("the job %r is not registered here: released, and looked at again in %.0f s", job, seconds)

    def outage(self, why: str) -> None:
        log.error("the database cannot be used (%s): running attempts go on, tried again until it answers", why)

    def recovered(self, seconds: float) -> None:
        log.info("the database answers again after %.1f s", seconds)

    def ended(self, job: str, attempt_id: str, words: str) -> None:
        log.warning("%s, attempt %s: %s", job, attempt_id[-8:], words)

    def ending(self, job: str, attempt_id: str, words: str) -> None:
        log.info("ending %s, attempt %s: %s", job, attempt_id[-8:], words)

    def fenced(self, attempt_id: str) -> None:
        log.warning("attempt %s is no longer ours: its process is ended", attempt_id[-8:])

    def stray(self, attempt_id: str) -> None:
        log.warning("attempt %s is ours in the database but no seat here runs it: it is settled", attempt_id[-8:])

    def unkillable(self, pid: int) -> None:
        log.error("process %d does not end by SIGKILL; its seat is not used again", pid)

    def draining(self, running: int) -> None:
        log.info("draining: no more claims, %d attempts still run", running)

    def abandoned(self, running: int) -> None:
        log.warning("the drain window is over: %d attempts go on alone and report for themselves", running)

    def declared_dead(self) -> None:
        log.error("this worker was declared dead: its attempts are ended and the process ends")

    def stopped(self, why: str) -> None:
        log.info("stopped: %s", why)
