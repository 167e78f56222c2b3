"""A warehouse of any size, made by SQL from the numbers of its rows: what a large firm's sync would have left.

Ten calls and five moves between stages for a deal, three messages and one task, over two years that end at `AS_OF`;
four in ten callers are known by their card, one call in six is missed, one record in fifty is a double of the one
before. The same numbers make the same rows.
"""

from datetime import UTC, datetime

from sqlalchemy import Connection

AS_OF = datetime(2026, 11, 20, 21, tzinfo=UTC)
BEGIN = "TIMESTAMPTZ '2024-11-20 00:00:00+00'"
SPAN_S = 730 * 86_400
STAGES, PIPELINES, USERS = 8, 3, 60
CALLS, MOVES, MESSAGES = 10, 5, 3
"""For each deal."""

KEPT = "'h' AS raw_hash, 1 AS read_seq, 1 AS load_seq, now() AS synced_at, 'main' AS account_id"
"""What a load leaves on every row."""

LISTS = {
    "account": "SELECT 'amocrm' AS connector, 'Big' AS name, 'https://big.example' AS base_url, '1' AS external_id, "
    "'Europe/Moscow' AS tz, 'RUB' AS base_currency, 'RU' AS default_region",
    "user": f"SELECT 'user:' || n AS user_id, 'User ' || n AS name, TRUE AS is_active, FALSE AS is_robot "
    f"FROM range({USERS}) r(n)",
    "pipeline": f"SELECT 'pipeline:' || n AS pipeline_id, 'Pipeline ' || n AS name, 'deal' AS entity_kind, n AS sort, "
    f"FALSE AS is_archived FROM range({PIPELINES}) r(n)",
    "stage": f"SELECT 'pipeline:' || p AS pipeline_id, 'status:' || CASE s WHEN {STAGES - 2} THEN 142 "
    f"WHEN {STAGES - 1} THEN 143 ELSE 100 * (p + 1) + s END AS stage_id, 'Stage ' || s AS name, s AS sort, "
    f"CASE s WHEN {STAGES - 2} THEN 'won' WHEN {STAGES - 1} THEN 'lost' ELSE 'open' END AS kind "
    f"FROM range({PIPELINES}) a(p), range({STAGES}) b(s)",
    "loss_reason": "SELECT 'loss_reason:' || n AS loss_reason_id, 'Reason ' || n AS name FROM range(8) r(n)",
}

CARDS = {
    "company": "SELECT 'company:' || n AS company_id, 'Company ' || n AS name, 'user:' || n % {users} AS "
    "responsible_user_id, {at} AS created_at, FALSE AS is_my_company FROM range({deals} // 10) r(n)",
    "contact": "SELECT 'contact:' || n AS contact_id, 'Contact ' || n AS name, CASE WHEN n % 4 = 0 THEN 'company:' || "
    "n // 4 % greatest({deals} // 10, 1) END AS company_id, 'user:' || n % {users} AS responsible_user_id, "
    "{at} AS created_at FROM range({deals} * 6 // 10) r(n)",
    "client_phone": "SELECT 'contact:' || n AS entity_id, md5('phone' || n) AS phone_key, 'contact' AS entity_kind, "
    "'contact:' || n AS contact_id, '+7' || n AS phone_e164, '+7' || n AS phone_raw, 11 AS phone_digits "
    "FROM range({deals} * 6 // 10) r(n)",
}

DEAL = """
    SELECT n, 'deal:' || n AS deal_id, n % {pipelines} AS p, hash(n) % 100 AS chance,
        {begin} + to_seconds(CAST(n * {span} // {deals} AS BIGINT)) AS created_at, hash(n, 1) % 900000 AS pace_s
    FROM range({deals}) r(n)
"""
"""`pace_s`: between two moves of a deal; one in eight still goes on, two in five of the others are won."""

MOVE = """
    SELECT *, CASE WHEN chance < 12 OR k < {moves} - 1 THEN least(k + 1, 5) WHEN chance < 47 THEN {won} ELSE {lost} END
        AS reached, created_at + to_seconds(CAST((k + 1) * pace_s + 60 AS BIGINT)) AS moved_at
    FROM ({deal}), range({moves}) m(k)
"""

FACTS = {
    "deal": """
        SELECT deal_id, 'deal' AS entity_kind, 'Deal ' || n AS name, 'pipeline:' || p AS pipeline_id,
            'status:' || {stage_of} AS stage_id, 'user:' || n % {users} AS responsible_user_id,
            CASE WHEN chance % 7 = 0 THEN NULL ELSE 100 * (n % 90000) END AS amount_minor, 'RUB' AS currency,
            'contact:' || n % greatest({deals} * 6 // 10, 1) AS main_contact_id,
            CASE WHEN reached = {lost} THEN 'loss_reason:' || n % 8 END AS loss_reason_id, created_at,
            CASE WHEN reached >= {won} THEN moved_at END AS closed_at, moved_at AS source_updated_at
        FROM ({last})
    """,
    "deal_contact": """
        SELECT deal_id, 'contact:' || n % greatest({deals} * 6 // 10, 1) AS contact_id, TRUE AS is_main, 0 AS position
        FROM ({deal})
    """,
    "deal_stage_transition": """
        SELECT 'change:' || n * {moves} + k AS change_id, deal_id, moved_at AS changed_at,
            'pipeline:' || p AS from_pipeline_id, 'status:' || {stage_before} AS from_stage_id,
            'pipeline:' || p AS to_pipeline_id, 'status:' || {stage_of} AS to_stage_id, 'user:' || n % {users} AS
            by_user_id, 'event' AS origin
        FROM ({move}) WHERE moved_at < {end}
    """,
    "call": """
        SELECT 'call:' || i AS call_id, 'u' || j AS external_uniq,
            CASE WHEN hash(j, 2) % 10 < 6 THEN 'in' ELSE 'out' END AS direction, 'normal' AS subtype,
            FALSE AS is_internal, {begin} + to_seconds(CAST(j * {span} // ({deals} * {calls}) AS BIGINT)) AS started_at,
            hash(j, 3) % 40 AS wait_s, CASE WHEN hash(j, 4) % 6 = 0 THEN 0 ELSE hash(j, 5) % 600 END AS talk_s,
            CASE WHEN hash(j, 4) % 6 = 0 THEN 'missed' ELSE 'answered' END AS status, 'user:' || j % {users} AS user_id,
            '+7' || c AS phone_e164, '+7' || c AS phone_raw, md5('phone' || c) AS phone_key, 11 AS phone_digits,
            CASE WHEN j % 10 < 4 THEN 'contact' END AS entity_kind, CASE WHEN j % 10 < 4 THEN 'contact:' || c END
            AS entity_id, CASE WHEN j % 10 < 4 THEN 'contact:' || c END AS contact_id, 'pbx' AS provider
        FROM (
            SELECT *, hash(j, 6) % greatest({deals} * 7 // 10, 1) AS c
            FROM (SELECT i, i - (i % 50 = 49)::INT AS j FROM range({deals} * {calls}) r(i))
        )
    """,
    "message": """
        SELECT 'message:' || i AS message_id, 'chat:' || c AS chat_id, 'whatsapp' AS channel,
            CASE WHEN i % 2 = 0 THEN 'in' ELSE 'out' END AS direction, CASE WHEN i % 2 = 0 THEN 'client' ELSE 'user' END
            AS author, CASE WHEN i % 2 = 1 THEN 'user:' || i % {users} END AS user_id, 'contact:' || c AS contact_id,
            {begin} + to_seconds(CAST(i * {span} // ({deals} * {messages}) AS BIGINT)) AS sent_at, FALSE AS has_file,
            'text' AS text
        FROM (SELECT i, hash(i, 7) % greatest({deals} * 6 // 10, 1) AS c FROM range({deals} * {messages}) r(i))
    """,
    "task": """
        SELECT 'task:' || n AS task_id, CASE WHEN n % 9 = 0 THEN 'meeting' ELSE 'call' END AS kind, 'deal' AS
            entity_kind, deal_id AS entity_id, 'user:' || n % {users} AS responsible_user_id, created_at, created_at +
            INTERVAL 2 DAY AS due_at, FALSE AS due_is_allday, CASE WHEN chance < 80 THEN created_at + INTERVAL 1 DAY END
            AS completed_at, FALSE AS completed_is_estimate, chance < 80 AS is_completed
        FROM ({deal})
    """,
}

RESOURCES = ("deal", "deal_stage_transition", "call", "message", "task", "contact", "company")


def fill(connection: Connection, *, deals: int) -> None:
    """Write the company into an empty, migrated warehouse, in the caller's transaction."""
    known = {
        "deals": deals,
        "users": USERS,
        "pipelines": PIPELINES,
        "moves": MOVES,
        "calls": CALLS,
        "messages": MESSAGES,
        "begin": BEGIN,
        "end": f"TIMESTAMPTZ '{AS_OF.isoformat()}'",
        "span": SPAN_S,
        "won": STAGES - 2,
        "lost": STAGES - 1,
        "at": f"{BEGIN} + to_seconds(CAST(n * {SPAN_S} // {deals} AS BIGINT))",
        "stage_of": _stage("reached"),
        "stage_before": _stage("least(k, 5)"),
    }
    known["deal"] = DEAL.format(**known)
    known["move"] = MOVE.format(**known)
    # where a deal stands: its last move that has come, else the first stage
    has_come = f"FILTER (moved_at < {known['end']})"
    known["last"] = (
        f"SELECT n, deal_id, p, chance, any_value(created_at) AS created_at, "
        f"coalesce(max_by(reached, k) {has_come}, 0) AS reached, "
        f"coalesce(max(moved_at) {has_come}, any_value(created_at)) AS moved_at FROM ({known['move']}) GROUP BY ALL"
    )
    for table, query in {**LISTS, **CARDS, **FACTS}.items():
        connection.exec_driver_sql(f'INSERT INTO "{table}" BY NAME SELECT *, {KEPT} FROM ({query.format(**known)})')
    for resource in RESOURCES:
        connection.exec_driver_sql(
            f"INSERT INTO coverage BY NAME SELECT '{resource}' AS resource, {BEGIN} AS complete_from, "
            f"{known['end']} AS watermark, {KEPT}"
        )
        connection.exec_driver_sql(
            f"INSERT INTO sync_watermark BY NAME SELECT 'main' AS account_id, '{resource}' AS resource, "
            f"'{resource}' AS table_name, 'main' AS target_account_id, TRUE AS is_core, {BEGIN} AS complete_from, "
            f"{known['end']} AS watermark"
        )


def _stage(place: str) -> str:
    return f"CASE {place} WHEN {STAGES - 2} THEN 142 WHEN {STAGES - 1} THEN 143 ELSE 100 * (p + 1) + {place} END"
