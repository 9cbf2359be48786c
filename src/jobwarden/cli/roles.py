"""The daemons: `work` serves lanes on this host, `up` is all roles at once, the reapers look after what is lost.

None of them runs user code in its own process.
"""

from __future__ import annotations

from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

import click

from jobwarden.cli.opening import Opening
from jobwarden.cli.serve import PORT, serving_beside
from jobwarden.config import Settings
from jobwarden.daemons import host, roles
from jobwarden.daemons.exporter import exporting


def _options(command: Any) -> Any:
    """The options of a worker."""
    for option in (
        click.option("--burst", is_flag=True, help="End when no job can be claimed now; delayed ones do not count."),
        click.option(
            "--drain-timeout", type=click.FloatRange(0), help="Seconds to wait for attempts when asked to end; 0: all."
        ),
        click.option("--capacity", type=click.IntRange(1), help="Attempts to run at once."),
        click.option("--lane", "lanes", multiple=True, help="A lane to serve; repeatable, in order."),
    ):
        command = option(command)
    return command


@click.command()
@_options
@click.pass_obj
def work(opening: Opening, /, **given: Any) -> int:
    """Run jobs, until told to end.

    Each attempt has a process of its own. TERM or INT: claim no more and let what runs finish. A second one ends it
    after its grace, QUIT ends it at once, HUP loads new code.
    """
    return _work(opening, given)


@click.command()
@_options
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Of the console.")
@click.option("--no-console", is_flag=True, help="Without it.")
@click.pass_obj
def up(opening: Opening, /, port: int, no_console: bool, **given: Any) -> int:
    """Prepare the database, then work.

    All that one machine needs: the reapers, a scheduler and the console run beside it.
    """
    without = no_console or find_spec("uvicorn") is None or find_spec("fastapi") is None
    with nullcontext() if without else serving_beside(opening.needed(), port):
        return _work(opening, given, migrate_first=True, beside=("global_reaper", "scheduler"))


def _work(opening: Opening, given: dict[str, Any], **wishes: Any) -> int:
    burst = given.pop("burst")
    settings = {name: value for name, value in given.items() if value not in (None, ())}
    app = opening.needed()
    with exporting(Settings(**settings), "supervisor"):
        return host.work(app, burst=burst, **wishes, **settings)


@click.command("reap-local")
@click.pass_obj
def reap_local(opening: Opening, /) -> int:
    """Look after this host's attempts.

    Adopts what outlives its supervisor, settles what does not. Each worker starts one beside itself already; one of a
    host acts, the others are spares.
    """
    return daemon("local_reaper", opening.settings())


@click.command("reap-global")
@click.pass_obj
def reap_global(opening: Opening, /) -> int:
    """Look after hosts that went dark.

    Run it on two or three hosts: one leads, the others are spares.
    """
    return daemon("global_reaper", opening.settings())


def daemon(role: str, settings: Settings, app: str | None = None) -> int:
    """Be a daemon that runs no jobs; the exit code."""
    with exporting(settings, role):
        return roles.run(role, settings, app)


COMMANDS = (work, up, reap_local, reap_global)
