"""Runs a metric: the one road from a metric and frames to a result, for pages, the command line and digests alike."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import narwhals.stable.v2 as nw
import polars as pl

from metrics.frames import EVENT, MISSING_FILE, FrameSet, instant_of
from metrics.history import LOGGED, facts_of_now
from metrics.links import with_urls
from metrics.marts import FED_BY
from metrics.metric import COVERAGE, DRILLDOWN, Metric, MetricResult, Notice, Params, Period, known_until

RESOURCES: dict[str, tuple[str, str]] = {
    "deal": ("сделки", "deals"),
    "contact": ("контакты", "contacts"),
    "company": ("компании", "companies"),
    "call": ("звонки", "calls"),
    "message": ("сообщения", "messages"),
    "chat": ("чаты", "chats"),
    "activity": ("заметки", "notes"),
    "request": ("заявки", "incoming requests"),
    "customer": ("покупатели", "customers"),
    "product": ("товары", "products"),
    "deal_item": ("товары сделок", "items of deals"),
    "invoice": ("счета", "invoices"),
    "payment": ("платежи", "payments"),
    "task": ("задачи", "tasks"),
    "user": ("сотрудники", "users"),
    "department": ("отделы", "departments"),
    "pipeline": ("воронки", "pipelines"),
    "stage": ("этапы", "stages"),
    "loss_reason": ("причины отказа", "loss reasons"),
    "source": ("источники", "sources"),
    "deal_stage_transition": ("история этапов", "stage history"),
    "deal_owner_change": ("история ответственных", "history of responsible users"),
    "deal_amount_change": ("история сумм", "history of amounts"),
    "merge_link": ("склейки клиентов", "client merges"),
}

OWNED_BY_HISTORY = {"stage_interval", "deal_state"}
"""Marts that name the responsible user at an instant, for which the history of responsible users is needed."""


def evaluate(metric: Metric, frames: FrameSet, params: Params | None, period: Period) -> MetricResult:
    """The metric's answer for `period`, with card links, coverage and the warnings every metric shares.

    An `as_of` earlier than the publication's has the marts rebuilt for it (R-ASOF). A reader whose generation was
    cleared away starts again on the newest one.
    """
    chosen = params or metric.params()
    try:
        frames, collected = _collected(metric, frames, chosen, period)
    except MISSING_FILE:
        frames, collected = _collected(metric, frames.reopened(), chosen, period)
    result = metric.finish(collected, chosen, period)
    accounts = frames.manifest["accounts"]
    linked = {name: with_urls(table, accounts) for name, table in result.tables.items() if "url" in table.columns}
    return replace(
        result,
        tables=result.tables | linked,
        drilldown=with_urls(result.drilldown, accounts).select(*DRILLDOWN),
        coverage=coverage(metric, frames),
        warnings=(*notices(metric, frames, period), *result.warnings),
    )


def _collected(
    metric: Metric, frames: FrameSet, params: Params, period: Period
) -> tuple[FrameSet, dict[str, pl.DataFrame]]:
    seen = _as_of(frames, period).with_clock(period)
    return seen, collect(metric.reduce(seen, params, period))


def _as_of(frames: FrameSet, period: Period) -> FrameSet:
    return frames.at(period.as_of) if _is_past(frames, period) and frames.rebuilt_for != period.as_of else frames


def _is_past(frames: FrameSet, period: Period) -> bool:
    published = instant_of(frames.manifest.get("as_of"))
    return published is not None and period.as_of < published


def collect(lazy: Mapping[str, nw.LazyFrame[Any]]) -> dict[str, pl.DataFrame]:
    """Lazy frames as small Polars frames; on Polars together, so that what they share is computed once."""
    native = {name: frame.to_native() for name, frame in lazy.items()}
    if all(isinstance(frame, pl.LazyFrame) for frame in native.values()):
        return dict(zip(native, pl.collect_all(list(native.values())), strict=True))
    return {name: frame.collect("polars").to_native() for name, frame in lazy.items()}


def coverage(metric: Metric, frames: FrameSet) -> pl.DataFrame:
    """Since when and up to when the resources of the metric are complete, per account; null where never synced."""
    known = {(row["account_id"], row["resource"]): row for row in frames.manifest.get("coverage", ())}
    rows = []
    for account_id in [*(account["account_id"] for account in frames.manifest["accounts"]), *_unread(frames)]:
        for resource in metric.resources:
            row = known.get((account_id, resource), {})
            rows.append(
                {
                    "account_id": account_id,
                    "resource": resource,
                    "complete_from": instant_of(row.get("complete_from")),
                    "watermark": instant_of(row.get("watermark")),
                }
            )
    return pl.DataFrame(rows, schema=COVERAGE)


def _unread(frames: FrameSet) -> list[str]:
    """Accounts asked about that the publication only names: nothing of them was ever read."""
    named = frames.manifest.get("unread_accounts", ())
    return [account_id for account_id in named if frames.only is None or account_id in frames.only]


def notices(metric: Metric, frames: FrameSet, period: Period) -> tuple[Notice, ...]:
    """Warnings that hold for any metric: never synced, not all of the period known, stale, data checks."""
    covered = coverage(metric, frames)
    accounts = {account["account_id"]: account for account in frames.manifest["accounts"]}
    return (
        *(_never_synced(covered, _unread(frames)) if metric.resources else ()),
        *_incomplete(covered, accounts, period),
        *(_unborn(accounts.values(), period) if metric.reads_period else ()),
        *_stale(frames),
        *_owners_of_now(metric, frames, accounts.values()),
        *_past(metric, frames, period),
        *_checks(metric, frames),
    )


def _never_synced(covered: pl.DataFrame, unread: Collection[str]) -> Iterable[Notice]:
    if covered.is_empty():
        yield Notice(
            "no_data",
            "Нет данных: ни один аккаунт ещё не загружен. Пусто здесь не значит «ноль».",
            "No data: no account has been synced yet. Empty here does not mean zero.",
        )
    is_any_read = covered["account_id"].n_unique() > len(unread)
    for account in unread:
        yield Notice(
            "unread_account" if is_any_read else "no_data",
            f"Нет данных: аккаунт «{account}» ещё не загружен, в числах его нет.",
            f"No data: account “{account}” has not been synced yet and is not in the numbers.",
        )
    partly_read = covered.filter(pl.col("watermark").is_null() & ~pl.col("account_id").is_in(list(unread)))
    for row in partly_read.iter_rows(named=True):
        ru, en = RESOURCES.get(row["resource"], (row["resource"],) * 2)
        account = row["account_id"]
        yield Notice(
            "no_data",
            f"Нет данных: {ru} аккаунта «{account}» ещё не загружены. Пусто здесь не значит «ноль».",
            f"No data: {en} of account “{account}” have never been synced. Empty here does not mean zero.",
        )


def _incomplete(covered: pl.DataFrame, accounts: Mapping[str, Mapping[str, Any]], period: Period) -> Iterable[Notice]:
    for row in covered.filter(pl.col("complete_from").is_not_null()).iter_rows(named=True):
        zone = ZoneInfo(accounts[row["account_id"]]["tz"])
        begins, ends = (datetime.combine(day, time.min, zone) for day in (period.period_from, period.period_to))
        if row["complete_from"] <= begins:
            continue
        ru, en = RESOURCES.get(row["resource"], (row["resource"],) * 2)
        since, account = row["complete_from"].astimezone(zone), row["account_id"]
        if ends <= row["complete_from"]:
            yield Notice(
                "no_data",
                f"Нет данных: {ru} аккаунта «{account}» загружены только с {since:%d.%m.%Y}, период кончается раньше. "
                "Пусто здесь не значит «ноль».",
                f"No data: {en} of account “{account}” are synced only since {since:%Y-%m-%d}, and the period ends "
                "before. Empty here does not mean zero.",
            )
        else:
            yield Notice(
                "before_complete",
                f"Полные данные ({ru}) есть только с {since:%d.%m.%Y}: начало периода видно не целиком.",
                f"Complete data ({en}) begin on {since:%Y-%m-%d}: the start of the period is seen only in part.",
            )


def _unborn(accounts: Iterable[Mapping[str, Any]], period: Period) -> Iterable[Notice]:
    """Days of which nothing can be known at `as_of`. The running day counts as known."""
    ends = [known_until(period.as_of.astimezone(ZoneInfo(account["tz"]))) for account in accounts]
    if not ends or period.period_to <= max(ends):
        return
    last = max(ends) - timedelta(days=1)
    if period.period_from >= max(ends):
        yield Notice(
            "after_data",
            f"Период ещё не наступил: данные есть по {last:%d.%m.%Y}. Пусто здесь не значит «ноль».",
            f"The period lies after the data, which end on {last:%Y-%m-%d}. Empty here does not mean zero.",
        )
    else:
        yield Notice(
            "ends_after_data",
            f"Период кончается позже данных: они есть по {last:%d.%m.%Y}.",
            f"The period ends after the data, which end on {last:%Y-%m-%d}.",
        )


def _stale(frames: FrameSet) -> Iterable[Notice]:
    published = instant_of(frames.manifest.get("created_at"))
    for account in frames.manifest["accounts"]:
        if account.get("is_stale"):
            name, seen, whole = account["account_id"], instant_of(account["as_of"]), instant_of(account["watermark"])
            at = f"{seen.astimezone(ZoneInfo(account['tz'])):%Y-%m-%d %H:%M}" if seen else "?"
            if whole is None:
                ru = f"Аккаунт «{name}» ещё ни разу не загружен целиком: то, что есть, — на {at}."
                en = f"Account “{name}” has never been read whole yet: what there is, is as of {at}."
            elif published is not None and whole > published:
                ru = f"Свежесть аккаунта «{name}» неизвестна: данные на {at}, а часы сервера «Воронки» отстают."
                en = f"How fresh account “{name}” is, is not known: its data are as of {at}, ahead of our clock."
            else:
                ru = f"Аккаунт «{name}» давно не обновлялся: данные на {at}."
                en = f"Account “{name}” has not been updated for long: its data are as of {at}."
            yield Notice("stale_account", ru, en)


def _owners_of_now(metric: Metric, frames: FrameSet, accounts: Iterable[Mapping[str, Any]]) -> Iterable[Notice]:
    known = {row["account_id"] for row in frames.manifest.get("coverage", ()) if row["resource"] == "deal_owner_change"}
    if OWNED_BY_HISTORY & set(metric.inputs) and any(account["account_id"] not in known for account in accounts):
        yield Notice(
            "owner_source_current",
            "История смены ответственных не загружена: события отнесены к нынешним ответственным.",
            "The history of responsible users is not synced: events are counted for the present ones.",
        )


def _past(metric: Metric, frames: FrameSet, period: Period) -> Iterable[Notice]:
    if not _is_past(frames, period):
        return
    accounts = {account["account_id"] for account in frames.manifest["accounts"]}
    read = {(row["account_id"], row["resource"]) for row in frames.manifest.get("coverage", ())}
    logs = {log for log in LOGGED if all((account_id, log) in read for account_id in accounts)}
    held = {table for table in made_from(metric) if table in LOGGED or frames.has_rows(table)}
    facts = facts_of_now(held, logs)
    yield Notice(
        "facts_of_now",
        f"Расчёт на {period.as_of:%d.%m.%Y}: события взяты по эту дату, а то, у чего нет истории, — нынешнее: "
        f"{'; '.join(ru for ru, _ in facts)}.",
        f"As of {period.as_of:%Y-%m-%d}: events are taken up to then, and what has no history as it is now: "
        f"{'; '.join(en for _, en in facts)}.",
    )
    yield from _before_first(metric, frames, period)


def _before_first(metric: Metric, frames: FrameSet, period: Period) -> Iterable[Notice]:
    """An instant before anything of an account is known, even where its resources are complete since ever."""
    begins = frames.first_known({table for table in made_from(metric) if table in EVENT})
    for account in frames.manifest["accounts"]:
        first = begins.get(account["account_id"])
        if first is not None and period.as_of < first:
            name, local = account["account_id"], first.astimezone(ZoneInfo(account["tz"]))
            yield Notice(
                "no_data",
                f"Нет данных: первое, что известно об аккаунте «{name}», — от {local:%d.%m.%Y}. "
                "Пусто здесь не значит «ноль».",
                f"No data: the first that is known of account “{name}” is of {local:%Y-%m-%d}. "
                "Empty here does not mean zero.",
            )


def made_from(metric: Metric) -> set[str]:
    """The tables a metric reads, and the canonical tables that its marts are made of."""
    return {table for name in metric.inputs for table in (name, *FED_BY.get(name, ()))}


def _checks(metric: Metric, frames: FrameSet) -> Iterable[Notice]:
    """Findings in the accounts looked at, of tables the metric is made from. One that names none concerns all."""
    accounts = {account["account_id"] for account in frames.manifest["accounts"]}
    tables = made_from(metric)
    for check in frames.manifest.get("checks", ()):
        is_ours = check.get("account_id") is None or check["account_id"] in accounts
        touches = not check.get("tables") or tables & set(check["tables"])
        if check.get("count") and is_ours and touches:
            yield Notice(f"check_{check['code']}", check["ru"], check["en"])
