"""Findings: what a health check found to contradict the engine's own rules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation: the rule's name, the id of the job, attempt, worker or lane that breaks it, and one sentence."""

    invariant: str
    id: str
    detail: str
