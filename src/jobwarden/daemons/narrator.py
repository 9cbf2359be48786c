"""What a daemon tells its own log: all wording is here, none in the logic."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict

from jobwarden.lifecycle.prune import Pruned

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

    def unkillable(self, job: str, attempt_id: str, names: str) -> None:
        log.error(
            "%s, attempt %s is unkillable: SIGKILL does not end %s; it keeps its seat and is tried again",
            job,
            attempt_id[-8:],
            names,
        )

    def draining(self, running: int) -> None:
        log.info("draining: no more claims, %d attempts still run", running)

    def window_over(self, running: int, seconds: float) -> None:
        log.warning("the drain window of %g s is over: %d attempts are ended", seconds, running)

    def declared_dead(self) -> None:
        log.error("this worker was declared dead: it ends its attempts and registers anew")

    def isolated(self, seconds: float, attempts: int) -> None:
        log.error(
            "the database was not reached for %.1f s: %d attempts are ended before another host may take them",
            seconds,
            attempts,
        )

    def told_to_drain(self, actor: str | None, reason: str | None) -> None:
        log.info("told to drain by %s: %s", actor or "somebody", reason or "no reason given")

    def companion_gone(self, role: str, code: int, seconds: float) -> None:
        log.warning("the %s ended (exit code %d): started again in %.0f s", role, code, seconds)

    def daemon_started(self, role: str, daemon_id: str, database: str, where: str) -> None:
        log.info("%s %s started on %s, database %s", role, daemon_id, where, database)

    def leads(self, lease: str) -> None:
        log.info("holds the lease %s", lease)

    def hung(self, role: str, daemon_id: str, pid: int, seconds: float) -> None:
        log.error(
            "%s %s (pid %d) lives and has been silent for %.1f s: it is ended, its children are taken over",
            role,
            daemon_id[-8:],
            pid,
            seconds,
        )

    def blocks(self, what: str, pid: int, seconds: float, ended: bool) -> None:
        log.error(
            "%s (pid %d) holds the database's write lock and has not run for %.1f s: %s",
            what,
            pid,
            seconds,
            "it is ended" if ended else "nobody can write until it goes on or is ended; it is not ours to end",
        )

    def adopted(self, job: str, attempt_id: str, pid: int) -> None:
        log.warning(
            "%s, attempt %s: its supervisor is gone, its process %d is watched from here", job, attempt_id[-8:], pid
        )

    def found_dead(self, job: str, attempt_id: str, words: str) -> None:
        log.warning("%s, attempt %s: %s", job, attempt_id[-8:], words)

    def fences_for_others(self, attempt_id: str, seconds: float) -> None:
        log.error(
            "attempt %s: whoever watches over it has not reached the database for %.1f s: it is ended",
            attempt_id[-8:],
            seconds,
        )

    def declares_dead(self, role: str, daemon_id: str, where: str, seconds: float, holds: int) -> None:
        log.warning(
            "%s %s on %s is declared dead after %.1f s of silence; it held %d attempts",
            role or "a daemon without a row",
            daemon_id[-8:],
            where,
            seconds,
            holds,
        )

    def left_to_its_host(self, daemon_id: str, where: str) -> None:
        log.warning("%s on %s is silent, and its host's reaper answers: it is that one's to end", daemon_id[-8:], where)

    def given_up(self, attempts: int, where: str, seconds: float) -> None:
        log.error("%d attempts are taken from %s, dark for %.1f s", attempts, where, seconds)

    def stranded(self, job_id: str, state: str) -> None:
        log.error("job %s ran without an attempt in flight, which cannot happen: it is %s now", job_id, state)

    def stalled(self, batch_id: str) -> None:
        log.error("batch %s was stalled with nothing to go on with it, which cannot happen: it goes on", batch_id)

    def exports(self, where: str) -> None:
        log.info("metrics are at %s", where)

    def pruned(self, pruned: Pruned) -> None:
        told = ", ".join(f"{number} {what}" for what, number in asdict(pruned).items() if number)
        log.info("kept long enough and removed: %s", told)

    def undeclared(self, app: str, why: str, seconds: float) -> None:
        log.error(
            "what %s declares is not known (%s): the schedules that are there go on, asked again in %.0f s",
            app,
            why,
            seconds,
        )

    def schedules_declared(self, verb: str, names: Sequence[str]) -> None:
        shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        log.info("schedules %s as the application declares: %s", verb, shown)

    def schedule_broken(self, name: str, why: str) -> None:
        log.error("the schedule %s cannot be evaluated (%s): the others go on, it is tried again later", name, why)

    def unheard(self) -> None:
        log.warning("the database is away and nothing waits for it: this worker ends without telling it")

    def stopped(self, why: str) -> None:
        log.info("stopped: %s", why)
