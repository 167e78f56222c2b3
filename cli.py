"""The `voronka` command: arguments, exit codes and the sentence a person gets; the work is done elsewhere.

Exit codes: 0 all well · 1 something failed (a resource, the source, the disk), or `check` found differences · 2 wrong
configuration or arguments · 3 another process has the warehouse · 130 stopped by Ctrl-C. Results go to standard output,
the log to standard error.
"""

import errno
import logging
import os
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from commands.text import _, said
from config import Config, ConfigError, config_path, load_config
from metrics.frames import NoPublication

EXIT_FAILED, EXIT_WRONG, EXIT_LOCKED, EXIT_STOPPED = 1, 2, 3, 130

NOTHING_PUBLISHED = "Nothing is published in {where} yet: run `voronka sync`, then `voronka publish`."
NO_ANSWER = "The answers ended before the last question; nothing was written."
BAD_LOG = "VORONKA_LOG is {got}, but it must be DEBUG, INFO, WARNING or ERROR."
DISK_FULL = "The disk is full. Free some space and run again: nothing that was published is lost."
NO_RIGHTS = "No rights to {file}."
NO_PORT = "Port {port} is taken. Name another one: `voronka app --port {other}`; `--port 0` takes any that is free."

app = typer.Typer(
    help=_("Analytics over an external CRM: what a sales department loses and never sees."),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables, and some of those are secrets
    rich_markup_mode=None,
)
metric_app = typer.Typer(help=_("Metrics: list them, run one."), no_args_is_help=True)
app.add_typer(metric_app, name="metric")
account_app = typer.Typer(help=_("Accounts: remove one with all its data."), no_args_is_help=True)
app.add_typer(account_app, name="account")


def free_path(given: Path | None) -> Path | None:
    """The path of a configuration that is still to be written."""
    from commands.init import check_free

    check_free(config_path(given))
    return given


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="PATH", help=_("The configuration (default: VORONKA_CONFIG, else config.yaml).")),
]
NewConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="PATH",
        help=_("The configuration (default: VORONKA_CONFIG, else config.yaml)."),
        is_eager=True,  # before anything is asked
        callback=free_path,
    ),
]
FormatOption = Annotated[
    Literal["table", "csv", "json", "parquet", "xlsx"], typer.Option("--format", help=_("Shape of the answer."))
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help=_("Write here, not to the screen."))
]
JsonOption = Annotated[bool, typer.Option("--json", help=_("For programs."))]
DAY = "%Y-%m-%d"
FromOption = Annotated[
    datetime | None, typer.Option("--from", formats=[DAY], metavar="YYYY-MM-DD", help=_("First day."))
]
ToOption = Annotated[
    datetime | None,
    typer.Option("--to", formats=[DAY], metavar="YYYY-MM-DD", help=_("Day after the last (exclusive).")),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help=_("A parameter; may be repeated."))
]
AccountOption = Annotated[list[str] | None, typer.Option(metavar="ID", help=_("Only this account; may be repeated."))]


@app.command(help=_("Show the product on an invented company: demo CRM, sync, dashboard."))
def demo(
    *,
    port: Annotated[int, typer.Option(help=_("Of the dashboard; 0 takes a free one."))] = 8501,
    sync_only: Annotated[bool, typer.Option("--sync-only", help=_("Sync, compare with the answer key, stop."))] = False,
    data_dir: Annotated[Path, typer.Option(metavar="DIR")] = Path("demo-data"),
    crm: Annotated[
        Literal["amocrm", "bitrix24", "both"], typer.Option(help=_("Whose REST the company is read from."))
    ] = "amocrm",
    scale: Annotated[float, typer.Option(help=_("Size of the company; 1 is 20,000 deals."))] = 1.0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help=_("Open the dashboard."))] = True,
    config: ConfigOption = None,
) -> None:
    from demo.run import run_demo

    raise typer.Exit(run_demo(data_dir, crm=crm, port=port, scale=scale, sync_only=sync_only, browser=browser))


@app.command("sync", help=_("Read the CRM into the warehouse, from where the last run ended."))
def sync_command(
    *,
    accounts: Annotated[list[str] | None, typer.Argument(metavar="ACCOUNT")] = None,
    full: Annotated[bool, typer.Option("--full", help=_("Read everything again from the beginning."))] = False,
    resource: Annotated[list[str] | None, typer.Option(metavar="NAME", help=_("Only this; may be repeated."))] = None,
    config: ConfigOption = None,
) -> None:
    from commands.run import run_sync, stop_on_signals

    with stop_on_signals() as stop:
        raise typer.Exit(run_sync(connected(config), accounts or (), full=full, resources=resource or (), stop=stop))


@app.command("remap", help=_("Make the rows anew of what was read before, without asking the CRM."))
def remap_command(
    accounts: Annotated[list[str] | None, typer.Argument(metavar="ACCOUNT")] = None, config: ConfigOption = None
) -> None:
    from commands.remap import run_remap
    from commands.run import stop_on_signals

    with stop_on_signals() as stop:
        raise typer.Exit(run_remap(connected(config), accounts or (), stop=stop))


@app.command(help=_("Publish what was synced: what dashboard, metrics and SQL read."))
def publish(config: ConfigOption = None) -> None:
    from commands.run import run_publish

    raise typer.Exit(run_publish(connected(config)))


@app.command(help=_("Write a first config.yaml by asking."))
def init(
    *,
    crm: Annotated[str | None, typer.Option(help=_("amocrm or bitrix24"))] = None,
    base_url: Annotated[str | None, typer.Option(help=_("Address of the amoCRM account"))] = None,
    token_env: Annotated[
        str | None, typer.Option(help=_("Environment variable that will hold the token, or the address of the webhook"))
    ] = None,
    timezone: Annotated[str | None, typer.Option(help=_("Time zone"))] = None,
    hours: Annotated[str | None, typer.Option(help=_("Working hours, Monday to Friday"))] = None,
    country: Annotated[str | None, typer.Option(help=_("Country of the public holidays"))] = None,
    data_dir: Annotated[str | None, typer.Option(help=_("Folder for the data"))] = None,
    config: NewConfigOption = None,
) -> None:
    from commands import init as first

    answers = first.ask(
        {
            "crm": crm,
            "base_url": base_url,
            "variable": token_env,
            "timezone": timezone,
            "hours": hours,
            "country": country,
            "data_dir": data_dir,
        }
    )
    file = config_path(config)
    first.write(file, answers)
    say(_("Written: {file}").format(file=file))
    say(
        _("Now: export {name}=…, then `voronka doctor`, `voronka sync`, `voronka publish`, `voronka app`.").format(
            name=answers.variable
        )
    )


@app.command(help=_("Check configuration, disk, token, rights, filters, events and clocks."))
def doctor(
    *, account: Annotated[str | None, typer.Argument(metavar="ACCOUNT")] = None, config: ConfigOption = None
) -> None:
    from commands.doctor import examine_all

    raise typer.Exit(examine_all(connected(config), account))


@app.command(help=_("Allow reading by OAuth: prints the address to open, takes the code it gives."))
def login(
    *,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT")],
    code: Annotated[str | None, typer.Option(metavar="CODE", help=_("The code of the redirect."))] = None,
    redirect_url: Annotated[
        str | None, typer.Option(metavar="URL", help=_("The whole address the browser was sent to."))
    ] = None,
    config: ConfigOption = None,
) -> None:
    from commands.login import run_login

    raise typer.Exit(run_login(connected(config), account, code=code, redirect_url=redirect_url))


@app.command(help=_("How fresh and how complete the data are, and what went wrong last."))
def status(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    from commands.output import deliver, to_json
    from commands.status import state_of, state_text

    state = state_of(load_config(config))
    deliver(to_json(state) if as_json else state_text(state).encode(), None, is_text=True)


@app.command(help=_("Compare the warehouse with the CRM itself and list what differs, with links to the cards."))
def check(
    *,
    accounts: Annotated[list[str] | None, typer.Argument(metavar="ACCOUNT")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    from commands.check import run_check

    raise typer.Exit(run_check(connected(config), accounts or (), as_json=as_json))


@metric_app.command("list", help=_("The metrics and their parameters."))
def metric_list(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    from commands import metric
    from commands.output import deliver, frames_as, to_json

    content = to_json(metric.catalogue()) if as_json else frames_as(metric.catalogue_tables(), "table", titled=True)
    deliver(content, None, is_text=True)


@metric_app.command("run", help=_("Compute a metric on the publication."))
def metric_run(
    *,
    metric_id: Annotated[str, typer.Argument(metavar="ID")],
    period_from: FromOption = None,
    period_to: ToOption = None,
    as_of: Annotated[str | None, typer.Option(metavar="T", help=_("What was known at this instant."))] = None,
    assignments: SetOption = None,
    account: AccountOption = None,
    engine: Annotated[Literal["polars", "duckdb", "spark"], typer.Option(help=_("What computes."))] = "polars",
    table: Annotated[str | None, typer.Option(metavar="NAME", help=_("Only this table of the answer."))] = None,
    viewer: Annotated[str | None, typer.Option(metavar="LOGIN", help=_("As this person may see it."))] = None,
    form: FormatOption = "table",
    output: OutputOption = None,
    drilldown: Annotated[bool, typer.Option("--drilldown", help=_("With the rows behind the numbers."))] = False,
    config: ConfigOption = None,
) -> None:
    from commands.metric import Question, answer, present

    question = Question(
        metric_id,
        period_from=day(period_from),
        period_to=day(period_to),
        as_of=as_of,
        assignments=assignments or (),
        accounts=account or (),
        engine=engine,
        viewer=viewer,
    )
    known = load_config(config)
    answered = answer(question, known)
    present(answered, known, form, table=table, drilldown=drilldown, output=output)


@app.command("diff", help=_("Why numbers changed between two publications: parts that sum to the change."))
def diff_command(
    *,
    one: Annotated[
        str | None,
        typer.Argument(
            metavar="GENERATION",
            help=_("Name, beginning of a name, or day; the two newest where none is named, else the newest with it."),
            show_default=False,
        ),
    ] = None,
    other: Annotated[str | None, typer.Argument(metavar="GENERATION", show_default=False)] = None,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="ID", help=_("Only this metric; may be repeated."))
    ] = None,
    period_from: FromOption = None,
    period_to: ToOption = None,
    assignments: SetOption = None,
    account: AccountOption = None,
    form: Annotated[
        Literal["table", "json", "csv"], typer.Option("--format", help=_("Shape of the answer."))
    ] = "table",
    output: OutputOption = None,
    drilldown: Annotated[
        bool, typer.Option("--drilldown", help=_("CSV of the rows behind the numbers instead of the numbers."))
    ] = False,
    config: ConfigOption = None,
) -> None:
    from commands.diff import Compared, run_diff

    compared = Compared(
        [name for name in (one, other) if name is not None],
        metrics=metric or (),
        period_from=day(period_from),
        period_to=day(period_to),
        assignments=assignments or (),
        accounts=account or (),
    )
    run_diff(compared, load_config(config), form, drilldown=drilldown, output=output)


@app.command(help=_("Ask the publication in SQL: one SELECT, personal data left out."))
def sql(
    *,
    query: Annotated[str, typer.Argument(metavar="QUERY")],
    form: FormatOption = "table",
    output: OutputOption = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS")] = 60.0,
    config: ConfigOption = None,
) -> None:
    from audit import Export
    from commands.audit import leaving
    from commands.output import BINARY, deliver, frames_as
    from explorer import Limits, explore, tables_in
    from metrics.frames import open_frames

    known = load_config(config)
    generation = known.publication / open_frames(known.publication).generation
    found = explore(generation, query, limits=Limits(timeout_s=timeout))
    gone = leaving(known, Export("sql", form, found.height, tables=tables_in(generation, query)))
    deliver(frames_as({"answer": found}, form), output, is_text=form not in BINARY, form=form, leaving=gone)


@app.command("audit", help=_("Who exported, erased, removed or restored what, and when."))
def audit_command(
    *,
    days: Annotated[int, typer.Option(min=1, max=36_500, help=_("So many days back."))] = 30,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    from commands.audit import run_audit

    raise typer.Exit(run_audit(load_config(config), days=days, as_json=as_json))


@app.command("app", help=_("Open the dashboard on this machine."))
def dashboard(
    port: Annotated[int, typer.Option(help=_("Of the dashboard; 0 takes a free one."))] = 8501,
    config: ConfigOption = None,
) -> None:
    from app.launch import command, free_port

    load_config(config)  # what is wrong is said here, not on a page
    try:
        free = free_port(port)
    except OSError:
        raise ConfigError(NO_PORT, port=port, other=port + 1) from None
    say(_("The dashboard opens at {url}. Ctrl-C stops it.").format(url=f"http://127.0.0.1:{free}"))
    sys.stdout.flush()  # the server takes the place of this process
    arguments, environment = command(free, config=config_path(config))
    os.execve(arguments[0], arguments, environment)


@app.command(help=_("Run the jobs of the configuration in the foreground, until SIGTERM."))
def scheduler(config: ConfigOption = None) -> None:
    from commands.run import run_scheduler

    run_scheduler(connected(config))


@app.command(help=_("Take webhooks of the CRM, so that the next sync reads again what they name."))
def listen(
    *,
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    port: Annotated[int, typer.Option()] = 8600,
    addresses: Annotated[
        bool,
        typer.Option("--addresses", help=_("Print the secret addresses for the CRM's settings, and stop.")),
    ] = False,
    config: ConfigOption = None,
) -> None:
    from commands.listen import run_listen

    raise typer.Exit(run_listen(connected(config), host=host, port=port, only_addresses=addresses))


@app.command(help=_("Erase one person everywhere, and keep it from coming back: by phone, e-mail or card."))
def forget(
    *,
    who: Annotated[
        str | None,
        typer.Argument(metavar="PHONE|EMAIL|CARD", help=_("The card: contact:123, or its address in the CRM.")),
    ] = None,
    account: Annotated[
        str | None, typer.Option(metavar="ID", help=_("Whose card it is, where several have it."))
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help=_("Without asking."))] = False,
    show: Annotated[bool, typer.Option("--list", help=_("Hashes and dates of those who were forgotten."))] = False,
    lift: Annotated[
        str | None, typer.Option(metavar="HASH", help=_("Let this person come back with the next full reading."))
    ] = None,
    config: ConfigOption = None,
) -> None:
    from commands import forget as forgetting

    known = load_config(config)
    if show:
        raise typer.Exit(forgetting.show_list(known))
    if lift is not None:
        raise typer.Exit(forgetting.lift(known, lift))
    raise typer.Exit(forgetting.run_forget(known, who, account=account, yes=yes))


@account_app.command("remove", help=_("Delete an account and everything that was read of it, for good."))
def account_remove(
    *,
    account: Annotated[str, typer.Argument(metavar="ID")],
    yes: Annotated[bool, typer.Option("--yes", help=_("Without asking."))] = False,
    config: ConfigOption = None,
) -> None:
    from commands.account import run_account_remove

    raise typer.Exit(run_account_remove(connected(config), account, yes=yes))


@app.command(help=_("Put everything needed to go on into one file: warehouse, settings, keys, tokens."))
def backup(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    config: ConfigOption = None,
) -> None:
    from commands.backup import run_backup

    raise typer.Exit(run_backup(load_config(config), file))


@app.command(help=_("Put a backup into the data folder, once all of it is verified."))
def restore(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    force: Annotated[
        bool, typer.Option("--force", help=_("Also over a warehouse; what is there is moved aside."))
    ] = False,
    config: ConfigOption = None,
) -> None:
    from commands.backup import run_restore

    raise typer.Exit(run_restore(load_config(config), file, force=force))


def connected(path: Path | None) -> Config:
    """The configuration with every account's own keys checked by its connector."""
    from connectors.connector import find_connectors

    return load_config(path, {name: connector.settings for name, connector in find_connectors().items()})


def day(moment: datetime | None) -> date | None:
    return moment.date() if moment else None


def say(text: str) -> None:
    typer.echo(text)


def main() -> None:
    """The console script: what people can mend is a sentence on standard error; everything else is a bug and flies."""
    from commands import usage

    try:
        set_up_log(os.environ.get("VORONKA_LOG") or "WARNING")
        sys.exit(app(standalone_mode=False))
    except KeyboardInterrupt:
        sys.exit(EXIT_STOPPED)
    except typer.Abort:
        print("\n" + _(NO_ANSWER), file=sys.stderr)  # noqa: T201 — below the question
        sys.exit(EXIT_FAILED)
    except usage.UsageError as error:
        sys.exit(usage.shown(error))
    except BrokenPipeError:  # `voronka sql … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        told = sentence(error)
        if told is None:
            raise
        text, code = told
        print(text, file=sys.stderr)  # noqa: T201
        sys.exit(code)


def set_up_log(level: str) -> None:
    if level.upper() not in logging.getLevelNamesMapping():
        raise ConfigError(BAD_LOG, got=level)
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


def sentence(error: Exception) -> tuple[str, int] | None:
    """What a person is told, in their language, and the exit code; None for a bug."""
    from app.i18n import translated
    from audit import AuditError
    from connectors.errors import SpokenError
    from demo.run import DemoError
    from explorer import QueryError
    from warehouse.database import LockedError

    told: tuple[str, int] | None = None
    match error:
        case ConfigError() | QueryError():
            told = said(error.template, error.fields), EXIT_WRONG
        case NoPublication():
            told = _(NOTHING_PUBLISHED).format(where=error.where), EXIT_FAILED
        case AuditError():
            told = said(error.template, error.fields), EXIT_FAILED
        case LockedError():
            told = translated(error.said, _), EXIT_LOCKED
        case SpokenError():
            told = translated(error.said, _), EXIT_FAILED
        case DemoError():
            told = str(error), EXIT_FAILED
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            told = _(DISK_FULL), EXIT_FAILED
        case PermissionError():
            told = _(NO_RIGHTS).format(file=error.filename), EXIT_FAILED
    return told


if __name__ == "__main__":
    main()
