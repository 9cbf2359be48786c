"""`init`: a starter application and its settings, in files that did not exist before."""

from __future__ import annotations

from pathlib import Path

import click

from jobwarden.errors import JobWardenError

APP_FILE, SETTINGS_FILE = "jobs.py", "jobwarden.toml"

APP = '''\
"""The jobs of this application."""

from __future__ import annotations

import time

from jobwarden import Context, JobWarden

app = JobWarden()  # settings: jobwarden.toml beside this file, or JOBWARDEN_* in the environment


@app.job(idempotent=True)  # running it twice does no harm, so a lost attempt is run again
def greet(name: str, seconds: float = 2.0, *, ctx: Context) -> dict[str, str]:
    """Say hello, slowly enough to be watched."""
    ctx.log.info("about to greet %s", name)
    for step in range(10):
        time.sleep(seconds / 10)
        ctx.progress((step + 1) / 10, f"{step + 1} of 10")
    print(f"hello, {name}")  # whatever is printed lands in the job's log
    return {"greeted": name}


@app.job(idempotent=False, timeout=60)  # must not happen twice: a lost attempt waits for a person
def charge(customer_id: int, cents: int, *, ctx: Context) -> str:
    """Where money would move."""
    ctx.log.info("charging", extra={"customer": customer_id, "cents": cents})
    return f"receipt-{ctx.job_id[-8:]}"
'''

SETTINGS = """\
# Settings of JobWarden; every one is also an environment variable (JOBWARDEN_DATABASE_URL, ...).
database_url = "sqlite:///jobwarden.db"
# database_url = "postgresql://user:password@host/name"    # pip install 'jobwarden[postgres]'
# database_url = "mysql://user:password@host/name"         # MariaDB too: pip install 'jobwarden[mysql]'
lanes = ["default", "scheduled"]
"""

NEXT = """\
Next:
  jobwarden -A jobs:app up
  jobwarden -A jobs:app enqueue greet --params '{"name": "world"}'     (in a second terminal)
"""


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
def init(folder: Path) -> None:
    """Write a starter application.

    It is jobs.py with its settings in jobwarden.toml; nothing is overwritten.
    """
    taken = [name for name in (APP_FILE, SETTINGS_FILE) if (folder / name).exists()]
    if taken:
        raise JobWardenError(
            f"{' and '.join(str(folder / name) for name in taken)} would be overwritten: "
            "choose another folder with `jobwarden init FOLDER`."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in ((APP_FILE, APP), (SETTINGS_FILE, SETTINGS)):
            with open(folder / name, "x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise JobWardenError(
            f"The starter cannot be written to {folder} ({error.strerror}): choose another folder."
        ) from error
    click.echo(f"Wrote {folder / APP_FILE} and {folder / SETTINGS_FILE}.")
    click.echo(f"{f'  cd {folder}' if folder != Path() else ''}\n{NEXT}".strip("\n"))


COMMANDS = (init,)
