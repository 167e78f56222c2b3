"""Sync status: how fresh the data are, since when they are complete, and what went wrong."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import streamlit as st

from app import data
from app.i18n import N_, _, language, translated
from app.page import Page
from app.resources import part_name, resource_name
from app.rights import Viewer
from app.ui import formats, states, tables, tiles
from app.ui.tables import Column
from metrics.evaluate import RESOURCES

Rows = list[dict[str, Any]]


def render(publication: data.Publication | None, viewer: Viewer) -> None:
    """A manager learns how fresh and how complete the data are; how the sync goes is for those who look after it."""
    is_manager = viewer.role == "manager"
    run = None if is_manager else data.status()
    names = data.account_names(publication) if publication else {}
    _running(run)
    if publication is None:
        _why_nothing()
    elif is_manager:
        tiles.row(_age(publication), publication, key="status_tiles")
        with st.container(border=True):
            _coverage(publication, names)
    else:
        tiles.row([*_age(publication), *_health(publication, run)], publication, key="status_tiles")
        _accounts(publication, names)
    _errors(run, names)
    _warnings(run, names)
    _compared(run, names, publication)
    if publication is not None and not is_manager:
        left, right = st.columns([3, 2], gap="medium")
        with left.container(border=True):
            _coverage(publication, names)
        with right.container(border=True):
            _counts(publication)
    _last_run(run, names)
    if publication is not None and not is_manager:
        with st.container(border=True):
            _checks(publication)


def _why_nothing() -> None:
    try:
        data.current()
    except data.BrokenPublication:
        states.broken_publication()
    else:
        states.nothing_published()


def _running(run: Mapping[str, Any] | None) -> None:
    """A sync under way says how far it is; one that fell silent says that too."""
    if not run or run.get("state") != "running":
        return
    silent = data.now() - data.instant(run["heartbeat_at"])
    if silent > HEARTBEAT:
        text = _("The last sync broke off {age} ago. Run `voronka sync`: it goes on where it stopped.")
        st.warning(text.format(age=formats.hours(silent.total_seconds() / 3600)), icon=":material/sync_problem:")
        return
    resources = [resource for _account, resource in resources_of(run)]
    done = sum(resource["state"] in {"done", "skipped", "left_out"} for resource in resources)
    st.progress(
        done / max(len(resources), 1), text=_("A sync is running: {done} of {n}").format(done=done, n=len(resources))
    )


HEARTBEAT = timedelta(minutes=5)
"""A sync that has not written its status for so long was stopped."""


def resources_of(run: Mapping[str, Any] | None) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Account id and status of every resource of the last sync, with its `name` for people."""
    for account in (run or {}).get("accounts", ()):
        for resource in account.get("resources", ()):
            yield account["account_id"], {**resource, "name": named(resource, account)}


def named(resource: Mapping[str, Any], account: Mapping[str, Any]) -> str:
    return part_name(resource["resource"], {one["resource"] for one in account.get("resources", ())})


def _age(publication: data.Publication) -> list[tiles.Tile]:
    as_of = publication.as_of.astimezone(publication.zone)
    age = data.age(publication)
    ago = _("{age} ago").format(age=formats.hours(age.total_seconds() / 3600))
    return [
        tiles.Tile(_("Data as of"), formats.day(as_of.date()), note=f"{as_of:%H:%M} · {ago}"),
        tiles.Tile(
            _("Freshness"),
            _("stale") if age > data.STALE_AFTER else _("fresh"),
            note=_("stale after {hours}").format(hours=formats.hours(data.STALE_AFTER.total_seconds() / 3600)),
        ),
    ]


def _health(publication: data.Publication, run: Mapping[str, Any] | None) -> list[tiles.Tile]:
    rows = sum(table["rows"] for table in publication.manifest["tables"].values())
    n_tables = sum(1 for table in publication.manifest["tables"].values() if table["rows"])
    failed = len(list(errors(run)))
    problems = sum(1 for check in publication.manifest.get("checks", ()) if check.get("count"))
    return [
        tiles.Tile(_("Rows published"), formats.number(rows), note=_("in {n} tables").format(n=n_tables)),
        tiles.Tile(
            _("Sync errors"),
            formats.number(failed) if run else formats.no_data(),
            note=_ended(run, publication),
        ),
        tiles.Tile(_("Checks that found something"), formats.number(problems), note=_("listed below")),
    ]


def _ended(run: Mapping[str, Any] | None, publication: data.Publication) -> str:
    """When the last sync ended, in the publication's zone."""
    ended = local((run or {}).get("finished_at"), publication.zone)
    return formats.moment(ended) if ended else _("not known when")


def _accounts(publication: data.Publication, names: Mapping[str, str]) -> None:
    """Every account there ought to be, those of which nothing was read yet last."""
    zone = publication.zone
    unread = publication.manifest.get("unread_accounts", ())
    rows = pl.DataFrame(
        [
            {
                "name": names[account["account_id"]],
                "connector": account.get("connector"),
                "base_url": account.get("base_url"),
                "watermark": local(account.get("watermark"), zone),
                "state": _("stale") if account.get("is_stale") else _("fresh"),
            }
            for account in publication.accounts
        ]
        + [{"name": names.get(account_id, account_id), "state": _("not read yet")} for account_id in unread],
        schema={name: pl.Datetime("us") if name == "watermark" else pl.String for name in ACCOUNT},
    )
    with st.container(border=True):
        st.subheader(_("Accounts"), anchor=False)
        columns = [
            Column("name", _("Account")),
            Column("connector", _("CRM")),
            Column("base_url", _("Address"), width="medium"),
            Column("watermark", _("Read up to"), "moment"),
            Column("state", _("Freshness")),
        ]
        tables.show(rows, columns, key="accounts", alt=_("Accounts"))


ACCOUNT = ("name", "connector", "base_url", "watermark", "state")


def _errors(run: Mapping[str, Any] | None, names: Mapping[str, str]) -> None:
    found = list(errors(run))
    if not found:
        return
    st.subheader(_("What failed and was not read since"), anchor=False)
    for account, resources, sentence in found:
        where = " · ".join(filter(None, (names.get(account, account), ", ".join(resources))))
        st.error(f"**{states.escaped(where)}** — {states.escaped(sentence)}", icon=":material/sync_problem:")


def _warnings(run: Mapping[str, Any] | None, names: Mapping[str, str]) -> None:
    """What is worth knowing of an account as a whole."""
    for account in (run or {}).get("accounts", ()):
        name = names.get(account["account_id"], account["account_id"])
        for warning in account.get("warnings") or ():
            sentence = states.escaped(translated(warning, _))
            st.warning(f"**{states.escaped(name)}** — {sentence}", icon=":material/warning:")


def _compared(run: Mapping[str, Any] | None, names: Mapping[str, str], publication: data.Publication | None) -> None:
    """What the last comparison with each CRM came to, and which rows differ."""
    found = [
        (account["account_id"], check) for account in (run or {}).get("accounts", ()) if (check := account.get("check"))
    ]
    if not found:
        return
    with st.container(border=True):
        st.subheader(_("Comparison with the CRM"), anchor=False)
        for account, check in found:
            _one_compared(names.get(account, account), check, publication)
        rows = pl.DataFrame(
            [
                {"name": names.get(account, account), **{name: row[name] for name in DIFFERING[2:]}}
                | {"what": translated(row["what"], _)}
                for account, check in found
                for one in check["lists"]
                for row in one["sample"]
            ],
            schema=dict.fromkeys(DIFFERING, pl.String),
        )
        if rows.height:
            columns = [
                Column("name", _("Account"), width="small"),
                Column("what", _("What differs")),
                Column("id", _("Row")),
                Column("here", _("Here")),
                Column("there", _("In the CRM")),
                Column("url", _("Card"), "link"),
            ]
            tables.show(rows, columns, key="differing", alt=_("Rows that differ from the CRM"))


DIFFERING = ("name", "what", "id", "here", "there", "url")


def _one_compared(name: str, check: Mapping[str, Any], publication: data.Publication | None) -> None:
    """A sentence, green where nothing differs; of lists those that differ or could not be compared."""
    at = local(check["at"], publication.zone) if publication else None
    told = [translated(one, _) for one in (check["error"], check["summary"], *check["notes"]) if one]
    told += [
        f"{resource_name(one['resource'])}: "
        + "; ".join(translated(sentence, _) for sentence in (one["error"], *one["told"]) if sentence)
        for one in check["lists"]
        if one["error"] or one["differences"]
    ]
    moment = formats.moment(at) if at else check["at"]
    text = "\n\n".join(states.escaped(line) for line in (f"{name} · {moment}", *told))
    if check["state"] == "equal":
        st.success(text, icon=":material/check_circle:")
    else:
        st.warning(text, icon=":material/difference:")


def errors(run: Mapping[str, Any] | None) -> Iterable[tuple[str, list[str], str]]:
    """Account, names of the resources (none: the whole account) and sentence of each error of the last sync, or of one
    before it that did not read the resource well since."""
    for account in (run or {}).get("accounts", ()):
        own = account.get("error")
        if own:
            yield account["account_id"], [], translated(own, _)
        failed: dict[str, list[str]] = {}
        for resource in account.get("resources", ()):
            if said := _error(resource, own):
                failed.setdefault(said, []).append(named(resource, account))
        for sentence, resources in failed.items():
            yield account["account_id"], resources, sentence


def _error(resource: Mapping[str, Any], of_account: object) -> str:
    """What failed last with a resource, but not what its whole account suffers from now."""
    now, before = resource.get("error"), resource.get("failure")
    if now:
        return "" if now == of_account else translated(now, _)
    if not before:
        return ""
    age = formats.hours((data.now() - data.instant(before["at"])).total_seconds() / 3600)
    return _("{age} ago: {error}").format(age=age, error=translated(before["error"], _))


def _last_run(run: Mapping[str, Any] | None, names: Mapping[str, str]) -> None:
    """What the last sync read. Of what is only marked, no rows are written: the state says it."""
    found = list(resources_of(run))
    if not found:
        return
    rows = pl.DataFrame(
        [
            {
                "name": names.get(account, account),
                "resource": resource["name"],
                "state": _(MARKED if is_marking else STATES.get(resource["state"], resource["state"])),
                "n_read": resource.get("n_read"),
                "n_written": None if is_marking else resource.get("n_written"),
            }
            for account, resource in found
            for is_marking in [resource["resource"] in MARKING and resource["state"] == "done"]
        ],
        schema={name: pl.Int64 if name.startswith("n_") else pl.String for name in RUN},
    )
    with st.container(border=True):
        st.subheader(_("The last sync"), anchor=False)
        columns = [
            Column("name", _("Account"), width="small"),
            Column("resource", _("Data"), width="medium"),
            Column("state", _("State")),
            Column("n_read", _("Objects read"), "int"),
            Column("n_written", _("Rows written"), "int"),
        ]
        tables.show(rows, columns, key="last_run", alt=_("The last sync"))
        _remarks(found, names)


def _remarks(found: Iterable[tuple[str, Mapping[str, Any]]], names: Mapping[str, str]) -> None:
    """What a source answered otherwise than it should have, while the sync went on."""
    told = [
        (names.get(account, account), resource["name"], translated(warning, _))
        for account, resource in found
        for warning in resource.get("warnings") or ()
    ]
    if not told:
        return
    with st.expander(_("Worth knowing: {n}").format(n=len(told))):
        st.caption(_("The CRM answered a little otherwise than expected here. The sync went on."))
        for account, resource, sentence in told:
            st.markdown(f"**{states.escaped(f'{account} · {resource}')}** — {states.escaped(sentence)}")


RUN = ("name", "resource", "state", "n_read", "n_written")
STATES = {
    "waiting": N_("waiting"),
    "running": N_("running"),
    "done": N_("done"),
    "failed": N_("failed"),
    "skipped": N_("not asked for"),
    "left_out": N_("not given by the CRM"),
    "interrupted": N_("interrupted"),
}
MARKING, MARKED = frozenset({"trash"}), N_("marked as deleted")


def _coverage(publication: data.Publication, names: Mapping[str, str]) -> None:
    st.subheader(_("What is covered"), anchor=False)
    zone = publication.zone
    known = [row for row in publication.manifest.get("coverage", ()) if row.get("watermark")]
    rows = pl.DataFrame(
        [
            {
                "name": names.get(row["account_id"], row["account_id"]),
                "table": row["resource"],
                "resource": resource_name(row["resource"]),
                "complete_from": local(row.get("complete_from"), zone),
                "watermark": local(row.get("watermark"), zone),
            }
            for row in known
        ],
        schema={
            "name": pl.String,
            "table": pl.String,
            "resource": pl.String,
            "complete_from": pl.Datetime("us"),
            "watermark": pl.Datetime("us"),
        },
    ).sort("name", "resource")
    if rows.is_empty():
        st.caption(_("Nothing has been synced yet."))
        return
    columns = [
        Column("name", _("Account"), width="small"),
        Column("resource", _("Data")),
        Column("complete_from", _("Complete since"), "day"),
        Column("watermark", _("Read up to"), "moment"),
    ]
    _ours_apart(rows, columns, key="coverage", alt=_("What is covered"))


def _counts(publication: data.Publication) -> None:
    st.subheader(_("Rows"), anchor=False)
    counted = [(name, table["rows"]) for name, table in publication.manifest["tables"].items()]
    rows = pl.DataFrame(
        [
            {"table": name, "resource": resource_name(name), "rows": n}
            for name, n in counted
            if n and not name.endswith("_pii")
        ],
        schema={"table": pl.String, "resource": pl.String, "rows": pl.Int64},
    ).sort("rows", descending=True)
    columns = [Column("resource", _("Data"), width="medium"), Column("rows", _("Rows"), "int")]
    _ours_apart(rows, columns, key="counts", alt=_("Rows published"))


def _ours_apart(rows: pl.DataFrame, columns: list[Column], *, key: str, alt: str) -> None:
    """What people speak of; the tables behind it one click away. rows: with `table`, the table's own name."""
    is_spoken_of = pl.col("table").is_in([*RESOURCES, "client", "sale", "touch"])
    spoken, ours = rows.filter(is_spoken_of), rows.filter(~is_spoken_of)
    if spoken.height:
        tables.show(spoken, columns, key=key, alt=alt)
    if ours.height:
        with st.expander(_("Tables behind them: {n}").format(n=ours.height)):
            tables.show(ours, columns, key=f"{key}_ours", alt=alt)


def _checks(publication: data.Publication) -> None:
    st.subheader(_("Checks of the data"), anchor=False)
    found = [check for check in publication.manifest.get("checks", ()) if check.get("count")]
    if not found:
        st.success(_("All checks passed."), icon=":material/check_circle:")
        return
    for check in found:
        sentence = check["en"] if language() == "en" else check["ru"]
        st.markdown(f":material/warning: {states.escaped(sentence)}")


def local(text: str | None, zone: Any) -> datetime | None:
    if not text:
        return None
    return data.instant(text).astimezone(zone).replace(tzinfo=None)


PAGE = Page(
    url="status",
    title=N_("Sync status"),
    lead=N_("How fresh the data are, since when they are complete, and what went wrong."),
    icon=":material/sync:",
    section="System",
    order=1,
    render_bare=render,
)
