"""Data-quality gates: what in the data contradicts itself, counted, with examples, before any number is made of it.

Metrics are computed regardless; these findings go into the manifest and from there into their warnings.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table

from warehouse.columns import quoted
from warehouse.database import WarehouseError
from warehouse.models import CANONICAL, deal_seen, key_of, patch, tombstone
from warehouse.sightings import SEEN

SAMPLE = 5
AFTER_SYNC = frozenset({"history_differs"})
"""Gates cheap enough to be looked at after every sync too."""
CLOCK_SKEW = timedelta(minutes=10)


@dataclass(frozen=True)
class Gate:
    """query: rows (account_id, example) of what is wrong; `{now}` is the latest instant that can have been.

    tables: whose rows are wrong, tables or marts. What is not made from any of them need not tell.
    """

    code: str
    tables: tuple[str, ...]
    ru: str
    en: str
    query: str


def _unknown(table: str, row_id: str) -> str:
    """SQL: no row of `table` has the id, and it is not known to be deleted: cards in the trash are not read."""
    return (
        f"NOT EXISTS (FROM {table} o WHERE o.account_id = l.account_id AND o.{table}_id = {row_id}) "
        f"AND NOT EXISTS (FROM tombstone t WHERE t.account_id = l.account_id AND t.table_name = '{table}' "
        f"AND t.row_id = {row_id} AND t.deleted_at IS NOT NULL)"
    )


GATES = (
    Gate(
        "orphan_links",
        ("deal_contact", "company"),
        "Сделок с контактами или компаниями, которых нет в выгрузке: {count}. Об этих клиентах известно не всё.",
        "Deals with contacts or companies that were never read: {count}. Not everything is known of these clients.",
        f"""
        SELECT l.account_id, l.deal_id || ' → ' || l.contact_id FROM deal_contact l
            WHERE {_unknown("contact", "l.contact_id")}
        UNION ALL
        SELECT l.account_id, l.deal_id || ' → ' || l.company_id FROM deal l
            WHERE l.company_id IS NOT NULL AND l.deleted_at IS NULL AND {_unknown("company", "l.company_id")}
        """,
    ),
    Gate(
        "orphan_moves",
        ("deal_stage_transition",),
        "Переходов сделок, которых нет в выгрузке: {count}. В расчётах их нет.",
        "Moves of deals that were never read: {count}. They are left out.",
        f"""
        SELECT l.account_id, l.change_id || ' → ' || l.deal_id FROM deal_stage_transition l
            WHERE {_unknown("deal", "l.deal_id")}
        """,
    ),
    Gate(
        "stage_absent",
        ("stage",),
        "Сделок на этапах, которых нет в воронках: {count}. В воронки они не входят.",
        "Deals in stages that no pipeline has: {count}. Funnels leave them out.",
        """
        SELECT d.account_id, d.deal_id FROM deal d
            ANTI JOIN stage s ON s.account_id = d.account_id
                AND s.pipeline_id = d.pipeline_id AND s.stage_id = d.stage_id
            WHERE d.deleted_at IS NULL
        """,
    ),
    Gate(
        "transitions_broken",
        ("stage_interval",),
        "В истории этапов пропуски — сделка уходит не с того этапа, на который пришла; таких мест: {count}. Сколько "
        "дней эти сделки стояли на этапах, известно приблизительно; чем они закончились — точно.",
        "The history of stages has gaps, where a deal leaves another stage than it came to: {count}. How many days "
        "these deals stood on stages is known roughly; how they ended, exactly.",
        """
        SELECT account_id, change_id FROM (
            SELECT account_id, change_id, changed_at, from_pipeline_id, from_stage_id,
                lag(to_pipeline_id) OVER w AS last_pipeline, lag(to_stage_id) OVER w AS last_stage,
                lag(changed_at) OVER w AS last_at, lead(changed_at) OVER w AS next_at
            FROM deal_stage_transition
            WINDOW w AS (PARTITION BY account_id, deal_id ORDER BY changed_at, change_id)
        )
        WHERE last_stage IS NOT NULL AND from_stage_id IS NOT NULL
            AND (from_stage_id <> last_stage OR from_pipeline_id <> last_pipeline)
            AND changed_at <> last_at AND changed_at IS DISTINCT FROM next_at  -- within a second the order is not known
        """,
    ),
    Gate(
        "history_differs",
        ("deal_stage_transition",),
        "Сделок, чей последний переход ведёт не на нынешний этап: {count}. История там неполна.",
        "Deals whose last move does not lead to their present stage: {count}. Their history has a gap.",
        f"""
        SELECT d.account_id, d.deal_id FROM deal d JOIN (
            SELECT account_id, deal_id, max(changed_at) FILTER (NOT starts_with(change_id, '{SEEN}')) AS told_at
            FROM deal_stage_transition GROUP BY ALL
        ) m ON m.account_id = d.account_id AND m.deal_id = d.deal_id
        LEFT JOIN coverage c ON c.account_id = d.account_id AND c.resource = 'deal'
        WHERE d.deleted_at IS NULL
            AND coalesce(m.told_at < c.watermark, TRUE)  -- deals are read before their moves
            AND NOT EXISTS (
            FROM deal_stage_transition t WHERE t.account_id = d.account_id AND t.deal_id = d.deal_id
            AND t.changed_at = m.told_at AND t.to_stage_id = d.stage_id AND t.to_pipeline_id = d.pipeline_id
        )
        """,
    ),
    Gate(
        "closed_before_created",
        ("deal",),
        "Сделок, закрытых раньше, чем созданы: {count}. Длина цикла по ним неизвестна.",
        "Deals closed before they were created: {count}. Their cycle has no length.",
        "SELECT account_id, deal_id FROM deal WHERE closed_at < created_at AND deleted_at IS NULL",
    ),
    Gate(
        "future_timestamps",
        ("deal", "call", "deal_stage_transition", "task"),
        "Записей с датой из будущего: {count}. Они не видны, пока эта дата не наступит.",
        "Records dated in the future: {count}. They stay unseen until then.",
        """
        SELECT account_id, deal_id FROM deal WHERE created_at > {now}
        UNION ALL SELECT account_id, call_id FROM call WHERE started_at > {now}
        UNION ALL SELECT account_id, change_id FROM deal_stage_transition WHERE changed_at > {now}
        UNION ALL SELECT account_id, task_id FROM task WHERE created_at > {now}
        """,
    ),
)


def refuse_doubles(connection: Connection) -> None:
    """No index keeps the keys of batch-written tables unique; this does, before anything is made of them.

    Raises:
        WarehouseError: a table holds a key twice. Numbers made of it would be wrong.
    """
    doubled = [table.name for table in (*CANONICAL, tombstone, patch, deal_seen) if _has_doubles(connection, table)]
    if doubled:
        raise WarehouseError(
            "The warehouse holds rows twice in {tables}; nothing was published, readers keep what they have. This is a "
            "bug of the program: please report it. A new data folder and a first sync put it right.",
            tables=", ".join(doubled),
        )


def _has_doubles(connection: Connection, table: Table) -> bool:
    keys = ", ".join(quoted(name) for name in key_of(table))
    query = f"SELECT EXISTS (SELECT 1 FROM {quoted(table.name)} GROUP BY {keys} HAVING count(*) > 1)"
    return bool(connection.exec_driver_sql(query).scalar_one())


def check(
    connection: Connection, *, now: datetime, codes: Collection[str] | None = None, account_id: str | None = None
) -> list[dict[str, Any]]:
    """Findings per gate and account: code, account_id, tables, sentences, count and some ids.

    codes, account_id: of which gates and which account only; None: all.
    """
    latest = f"TIMESTAMPTZ '{(now + CLOCK_SKEW).isoformat()}'"
    return [
        {
            "code": gate.code,
            "account_id": found_in,
            "tables": list(gate.tables),
            "ru": gate.ru.format(count=n),
            "en": gate.en.format(count=n),
            "count": n,
            "sample": list(sample),
        }
        for gate in GATES
        if codes is None or gate.code in codes
        for found_in, n, sample in connection.exec_driver_sql(
            f"WITH found (account_id, example) AS ({gate.query.replace('{now}', latest)}) "
            f"SELECT account_id, count(*), min(example, {SAMPLE}) FROM found GROUP BY account_id ORDER BY account_id"
        ).fetchall()
        if account_id in (None, found_in)
    ]
