"""Erases one person from the warehouse: what the law calls erasure, with the facts left that point to nobody.

**Who.** A phone or an e-mail means every contact (and Bitrix24 lead) that carries it, and what these were merged with;
a card means itself and what it was merged with. Their other numbers and addresses go too, unless somebody else's card
has them as well: those are shared (a switchboard), stay with the others and are told. A company is a person's only
where it is named itself; one that carries the number loses the number.

**What goes.** Names, numbers, addresses, texts, recording links of the person's rows and of what hangs on the person's
deals, values of fields and tags of the card, and wherever else in texts the number, the address or the full name
stands. Raw objects of all these rows, in every version, and those that name the card, are deleted: what a source's JSON
says where, nobody here knows, so they are not cut but dropped.

**What stays, and why.** That a call came at 10:05 and was missed, that a deal was won: the company's books and the work
of its people, which metrics count. The id of the card does not stay: with the CRM it leads to the person, and it joins
everything into a profile. It becomes a random name, `contact:forgotten-<random>`, and so do the keyed hashes of the
phones; what stands for what is written nowhere, so metrics stay as they were and nobody gets back, not even with
`phone.key`. Ids of calls, deals and tasks stay, for a deal goes on being read and must not be counted twice. They lead
to objects of the CRM, which holds the person until it is erased there, as it has to be: this program never writes to a
CRM, and the command says so. Once that is done they lead nowhere.

Inflected names («Ивану Иванову») and single names in texts of others are not found.
"""

import re
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import phonenumbers
from sqlalchemy import Connection, Table, Text

from connectors.records import RECORDS
from warehouse.columns import quoted
from warehouse.models import CANONICAL, key_of
from warehouse.suppression import (
    CARD_COLUMNS,
    EMAILS,
    EMPLOYEES,
    FACT_COLUMNS,
    OF_TYPE,
    PHONES,
    STAND_IN,
    WORDS,
    Name,
    Suppression,
    card_hash,
    hashed,
    numbers_in,
    remember,
)

OWN_WORDS = frozenset(
    {
        *("account", "department", "user", "user_alias", "pipeline", "stage", "loss_reason", "source", "product"),
        *("field_def", "field_enum", "task_type", "checklist_item", "ad_cost", "coverage", "metric_series"),
    }
)
"""Tables of the company's own words: no person's texts stand there, and a product may be called like one."""

FEWEST_LETTERS = 8
"""Of a full name that is looked for in texts: «Ян Ли» stands in too many words."""

BETWEEN_DIGITS = "[ \t\u00a0().\u2013-]{0,3}"


@dataclass(frozen=True)
class Asked:
    """What somebody named: a phone in E.164, an e-mail in its normal form, or a card."""

    kind: str
    value: str
    account_id: str | None = None

    def hash(self, key: bytes) -> str:
        if self.kind == "card":
            return card_hash((self.account_id or "", self.value), key)
        return hashed(self.value, key)


@dataclass(frozen=True)
class Person:
    """Everything that is one person's. leads: Bitrix24's, which are deals and people at once. shared: how many numbers
    and addresses stay, for other cards have them too. companies: cards that only lose the number."""

    cards: tuple[Name, ...] = ()
    leads: tuple[Name, ...] = ()
    phones: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    odd_phones: tuple[str, ...] = ()
    """As written, where they are no numbers that could be called."""
    n_shared: int = 0
    companies: tuple[Name, ...] = ()

    @property
    def is_known(self) -> bool:
        return bool(self.cards or self.leads or self.companies)


@dataclass
class Erased:
    """rows: by table, emptied or removed. n_raw: raw objects removed, all versions. renamed: what cards are called now;
    for the settings of people, and for nobody else."""

    rows: dict[str, int] = field(default_factory=dict)
    n_raw: int = 0
    renamed: dict[Name, str] = field(default_factory=dict)


@dataclass
class Returned:
    """People that a restored warehouse still had, and what was erased of each."""

    people: list[Person] = field(default_factory=list)
    erased: list[Erased] = field(default_factory=list)


# --- who --------------------------------------------------------------------------------------------------------------


def find(connection: Connection, asked: Asked) -> Person:
    """Everything the warehouse knows to be of the person; nobody where it knows nothing."""
    first, known = _carriers(connection, asked), {asked.kind: {asked.value}}
    companies = [name for name in first if name[1].startswith("company:") and asked.kind != "card"]
    return _person(connection, [name for name in first if name not in companies], companies, known)


def _person(
    connection: Connection, first: Sequence[Name], companies: Sequence[Name], known: Mapping[str, set[str]]
) -> Person:
    """Whose cards `first` are, with all these were merged with. known: numbers (phone) and addresses (email)."""
    own = _merged(connection, first)
    phones, emails, odd, n_shared = _points(connection, own, known)
    return Person(
        cards=tuple(name for name in own if not name[1].startswith("lead:")),
        leads=tuple(name for name in own if name[1].startswith("lead:")),
        phones=phones,
        emails=emails,
        names=_names(connection, own),
        odd_phones=odd,
        n_shared=n_shared,
        companies=tuple(companies),
    )


def _carriers(connection: Connection, asked: Asked) -> list[Name]:
    if asked.kind == "card":
        found = connection.exec_driver_sql(
            "SELECT account_id, contact_id FROM contact WHERE contact_id = ? AND (account_id = ? OR ? IS NULL) "
            "UNION SELECT account_id, company_id FROM company WHERE company_id = ? AND (account_id = ? OR ? IS NULL) "
            "UNION SELECT account_id, deal_id FROM deal WHERE deal_id = ? AND entity_kind = 'lead' "
            "AND (account_id = ? OR ? IS NULL) ORDER BY ALL",
            (asked.value, asked.account_id, asked.account_id) * 3,
        )
        return [(row[0], row[1]) for row in found.fetchall()]
    return _carrying(connection, asked.kind, asked.value)


def _carrying(connection: Connection, kind: str, value: str) -> list[Name]:
    """Cards with a phone or an e-mail."""
    table, column = ("client_phone", "phone_e164") if kind == "phone" else ("client_email", "email_norm")
    found = connection.exec_driver_sql(
        f"SELECT DISTINCT account_id, entity_id FROM {table} WHERE {column} = ? ORDER BY ALL", (value,)
    )
    return [(row[0], row[1]) for row in found.fetchall()]


def _merged(connection: Connection, cards: Sequence[Name]) -> list[Name]:
    """The cards with all they were merged with, into or from."""
    links = connection.exec_driver_sql("SELECT account_id, from_id, into_id FROM merge_link").fetchall()
    beside: dict[Name, set[Name]] = {}
    for account_id, source, target in links:
        beside.setdefault((account_id, source), set()).add((account_id, target))
        beside.setdefault((account_id, target), set()).add((account_id, source))
    seen, ahead = set(cards), list(cards)
    while ahead:
        kind = ahead[-1][1].partition(":")[0]
        new = {one for one in beside.get(ahead.pop(), ()) if one[1].startswith(f"{kind}:")} - seen
        seen |= new
        ahead += new
    return sorted(seen)


def _points(
    connection: Connection, cards: Sequence[Name], known: Mapping[str, set[str]]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], int]:
    """Phones, e-mails and odd phones that are the person's alone, and how many others have too."""
    mine: dict[str, set[str]] = {kind: set(known.get(kind, ())) for kind in ("phone", "email", "odd")}
    n_shared = 0
    for kind, table, column in (
        ("phone", "client_phone", "phone_e164"),
        ("email", "client_email", "email_norm"),
        ("odd", "client_phone", "CASE WHEN phone_e164 IS NULL THEN phone_raw END"),
    ):
        rows = connection.exec_driver_sql(
            f"SELECT account_id, entity_id, {column} FROM {table} WHERE {column} IN "
            f"(SELECT {column} FROM {table} WHERE (account_id, entity_id) IN (SELECT unnest(?), unnest(?)))",
            _pairs(cards),
        ).fetchall()
        others = {row[2] for row in rows if (row[0], row[1]) not in cards and not row[1].startswith("company:")}
        found = {row[2] for row in rows} - mine[kind]
        mine[kind] |= found - others
        n_shared += len(found & others)
    return tuple(sorted(mine["phone"])), tuple(sorted(mine["email"])), tuple(sorted(mine["odd"])), n_shared


def _names(connection: Connection, cards: Sequence[Name]) -> tuple[str, ...]:
    """Full names that nobody else has: two words and more, long enough not to stand in other words."""
    bearing = (
        "SELECT account_id, contact_id AS id, name FROM contact "
        "UNION ALL SELECT account_id, company_id, name FROM company "
        'UNION ALL SELECT account_id, user_id, name FROM "user"'
    )
    rows = connection.exec_driver_sql(
        f"WITH bearer AS ({bearing}) SELECT DISTINCT name FROM bearer "
        "WHERE (account_id, id) IN (SELECT unnest(?), unnest(?)) AND name IS NOT NULL",
        _pairs(cards),
    ).fetchall()
    names = {row[0].strip() for row in rows if is_unusual(row[0])}
    taken = connection.exec_driver_sql(
        f"WITH bearer AS ({bearing}) SELECT DISTINCT lower(trim(name)) FROM bearer "
        "WHERE (account_id, id) NOT IN (SELECT unnest(?), unnest(?)) AND name IS NOT NULL",
        _pairs(cards),
    ).fetchall()
    return tuple(sorted(name for name in names if name.lower() not in {row[0] for row in taken}))


def is_unusual(name: str) -> bool:
    words = re.findall(r"[^\W\d_]{2,}", name)
    return len(words) >= 2 and sum(map(len, words)) >= FEWEST_LETTERS


def _pairs(names: Sequence[Name]) -> tuple[list[str], list[str]]:
    return [name[0] for name in names], [name[1] for name in names]


# --- in which spellings -----------------------------------------------------------------------------------------------


def spellings(person: Person) -> str | None:
    """A regular expression (of RE2 and of Python) of the phones, e-mails and names in their usual spellings.

    Upper and lower case are alike. None where there is nothing to look for.
    """
    parts = [_number(phone) for phone in person.phones] + [re.escape(email) for email in person.emails]
    parts += [_words(name) for name in person.names]
    parts += [re.escape(odd) for odd in person.odd_phones if len(re.sub(r"\D", "", odd)) >= 7]
    return f"(?i)(?:{'|'.join(parts)})" if parts else None


def _number(e164: str) -> str:
    """The digits, however they are cut, with the country's code, an 8 or nothing before: 8 (999) 123-45-67."""
    try:
        parsed = phonenumbers.parse(e164)
        code, national = str(parsed.country_code), str(parsed.national_number)
    except phonenumbers.NumberParseException:
        code, national = "8", e164.lstrip("+")
    digits = BETWEEN_DIGITS.join(national)
    return rf"(?:^|[^0-9])(?:(?:{code}|8){BETWEEN_DIGITS})?{digits}(?:[^0-9]|$)"


def _words(name: str) -> str:
    """Both orders of a name of two words; «ё» and «е» are one letter."""
    words = [re.sub("[её]", "[её]", re.escape(word), flags=re.IGNORECASE) for word in name.split()]
    orders = [words, words[::-1]] if len(words) == 2 else [words]
    return "|".join(r"\s+".join(order) for order in orders)


def card_pattern(cards: Sequence[Name], account_id: str) -> str | None:
    """A regular expression of raw objects that name one of the cards: by a word for its kind beside its number."""
    found = []
    for _, name in [name for name in cards if name[0] == account_id]:
        kind, _, number = name.partition(":")
        if kind in WORDS:
            digits = re.escape(number)
            found.append(rf"{WORDS[kind]}[^0-9]{{0,40}}{digits}(?:[^0-9]|$)")
            found.append(rf"(?:^|[^0-9]){digits}{OF_TYPE[kind]}")
    return f"(?i)(?:{'|'.join(found)})" if found else None


# --- erasing ----------------------------------------------------------------------------------------------------------


def erase(
    connection: Connection, person: Person, *, belongs_to: str, key: bytes, load_seq: int, now: datetime
) -> Erased:
    """Erase the person's rows, inside the caller's transaction, and put hashes of what was the person's on the list.

    belongs_to: the hash the list knows the person by. load_seq: of the rows that change, for the next publication.
    The bytes of what went stay in the file until it is written anew (`rewriting.rewrite`).
    """
    erased = Erased(renamed={name: f"{name[1].partition(':')[0]}:{stand_in()}" for name in person.cards})
    _prepare(connection, person, erased.renamed, key)
    facts = [(row[0], row[1]) for row in connection.exec_driver_sql("FROM gone_fact").fetchall()]
    tables = [table for table in CANONICAL if table.name not in EMPLOYEES and _conditions(table)]
    for table in tables:
        _note(connection, table)
    connection.exec_driver_sql(
        "INSERT INTO gone_key_name SELECT DISTINCT old, ? || md5(old || ?) FROM gone_row_key",
        (STAND_IN, secrets.token_hex(16)),
    )
    for table in tables:
        erased.rows[table.name] = _erase_rows(connection, table, load_seq)
    if (pattern := spellings(person)) is not None:
        for table in CANONICAL:
            if table.name not in OWN_WORDS:
                erased.rows[table.name] = erased.rows.get(table.name, 0) + _scrub(connection, table, pattern, load_seq)
    erased.n_raw = _erase_raw(connection, person)
    _erase_marks(connection, person)
    remember(
        connection,
        belongs_to,
        [("phone", hashed(phone, key)) for phone in person.phones]
        + [("email", hashed(email, key)) for email in person.emails]
        + [("card", card_hash(card, key)) for card in person.cards]
        + [("fact", card_hash(fact, key)) for fact in facts],
        now=now,
    )
    for name in TEMPORARY:
        connection.exec_driver_sql(f"DROP TABLE {name}")
    erased.rows = {name: n for name, n in sorted(erased.rows.items()) if n}
    return erased


def erase_met(connection: Connection, met: Suppression, *, load_seq: int, now: datetime) -> None:
    """Erase what is on hand of cards and facts that a reading showed to be a forgotten person's."""
    learned, met.learned = met.learned, {}
    for belongs_to in sorted(set(learned.values())):
        mine = [name for name, person in learned.items() if person == belongs_to]
        person = Person(
            cards=tuple(name for kind, name in mine if kind == "card"),
            leads=tuple(name for kind, name in mine if kind == "fact"),
        )
        erase(connection, person, belongs_to=belongs_to, key=met.key, load_seq=load_seq, now=now)


Listed = tuple[str, str, str, datetime]
"""Kind, hash, person and when, as the list has it."""


def erase_returned(
    connection: Connection, listed: Sequence[Listed], *, key: bytes, load_seq: int, now: datetime
) -> Returned:
    """Erase, inside the caller's transaction, people of a list that the warehouse's own list does not have: after a
    restore. What is on hand is searched for their numbers, addresses and cards, for a list knows hashes only."""
    own = {tuple(row) for row in connection.exec_driver_sql("SELECT kind, hash FROM forgotten").fetchall()}
    new = [row for row in listed if row[:2] not in own]
    for kind, one, belongs_to, at in new:
        connection.exec_driver_sql("INSERT INTO forgotten VALUES (?, ?, ?, ?, 0)", (kind, one, belongs_to, at))
    met, done = Suppression(connection, key=key), Returned()
    for belongs_to, values in sorted(_on_hand(connection, met).items() if new else ()):
        person = _of_values(connection, values)
        erased = erase(connection, person, belongs_to=belongs_to, key=key, load_seq=load_seq, now=now)
        if erased.rows or erased.n_raw:
            done.people.append(person)
            done.erased.append(erased)
    return done


Values = dict[str, set[Any]]
"""Of one person: phone and email as they are, names of card and fact."""


def _of_values(connection: Connection, values: Values) -> Person:
    carrying = [(kind, value) for kind in ("phone", "email") for value in values[kind]]
    carriers = {name for kind, value in carrying for name in _carrying(connection, kind, value)}
    companies = {name for name in carriers if name[1].startswith("company:")} - values["card"]
    person = _person(connection, sorted((values["card"] | carriers) - companies), sorted(companies), values)
    return replace(person, leads=tuple(sorted({*person.leads, *values["fact"]})))


def _on_hand(connection: Connection, met: Suppression) -> dict[str, Values]:
    """What is on hand of people on the list, by person."""
    found: dict[str, Values] = defaultdict(lambda: {kind: set() for kind in ("phone", "email", "card", "fact")})
    for account_id, token, kind in _tokens(connection):
        region = met.regions.get(account_id) or "RU"
        for value in numbers_in(token, region) if kind == "phone" else (token.lower(),):
            if whose := met.person(kind, value):
                found[whose][kind].add(value)
    for table in CANONICAL:
        for column in [name for name in dict.fromkeys((*CARD_COLUMNS, *FACT_COLUMNS)) if name in table.columns]:
            names = connection.exec_driver_sql(
                f"SELECT DISTINCT account_id, {column} FROM {quoted(table.name)} WHERE {column} IS NOT NULL"
            ).fetchall()
            for account_id, name in names:
                for kind in ("card", "fact"):
                    if whose := met.owner(kind, account_id, name):
                        found[whose][kind].add((account_id, name))
    return found


def _tokens(connection: Connection) -> Iterator[tuple[str, str, str]]:
    """Account, text and kind of whatever may be a number or an address, in all texts on hand."""
    texts = [(quoted(table.name), quoted(column.name)) for table in CANONICAL for column in _texts(table)]
    for table, text in [*texts, ("raw_record", "decode(body)")]:
        for kind, pattern in (("phone", PHONES), ("email", EMAILS)):
            rows = connection.exec_driver_sql(
                f"SELECT DISTINCT account_id, unnest(regexp_extract_all({text}, ?)) FROM {table}", (pattern,)
            )
            yield from [(row[0], row[1], kind) for row in rows.fetchall()]


def _texts(table: Table) -> list[Any]:
    apart = {"account_id", "raw_hash", *CARD_COLUMNS, *FACT_COLUMNS}
    return [one for one in table.columns if isinstance(one.type, Text) and one.name not in apart]


TEMPORARY = ("gone_card", "gone_fact", "gone_key", "gone_row_key", "gone_key_name", "gone_raw")


def stand_in() -> str:
    return f"{STAND_IN}{secrets.token_hex(8)}"


def _prepare(connection: Connection, person: Person, renamed: dict[Name, str], key: bytes) -> None:
    """Tables of what goes: cards with their new names, facts, keys of the person's numbers and addresses; and of what
    is found on the way: all keys in rows about the person, with their new names, and raw versions."""
    create = "CREATE OR REPLACE TEMP TABLE"
    connection.exec_driver_sql(f"{create} gone_card (account_id VARCHAR, old VARCHAR, new VARCHAR)")
    connection.exec_driver_sql(f"{create} gone_fact (account_id VARCHAR, old VARCHAR)")
    connection.exec_driver_sql(f"{create} gone_key (old VARCHAR)")
    connection.exec_driver_sql(f"{create} gone_row_key (old VARCHAR)")
    connection.exec_driver_sql(f"{create} gone_key_name (old VARCHAR, new VARCHAR)")
    connection.exec_driver_sql(f"{create} gone_raw (account_id VARCHAR, raw_hash VARCHAR)")
    for (account_id, old), new in renamed.items():
        connection.exec_driver_sql("INSERT INTO gone_card VALUES (?, ?, ?)", (account_id, old, new))
    keys = [*person.phones, *person.emails, *(f"raw:{odd}" for odd in person.odd_phones)]
    for value in keys:
        connection.exec_driver_sql("INSERT INTO gone_key VALUES (?)", (hashed(value, key),))
    for name in person.leads:
        connection.exec_driver_sql("INSERT INTO gone_fact VALUES (?, ?)", name)
    for table, row_id, pointer in (
        ("deal", "deal_id", "main_contact_id"),
        ("deal", "deal_id", "company_id"),
        ("deal_contact", "deal_id", "contact_id"),
        ("chat", "chat_id", "contact_id"),
        ("customer", "customer_id", "contact_id"),
    ):
        connection.exec_driver_sql(
            f"INSERT INTO gone_fact SELECT DISTINCT t.account_id, t.{row_id} FROM {table} t JOIN gone_card c "
            f"ON c.account_id = t.account_id AND c.old = t.{pointer}"
        )


def _conditions(table: Table) -> str:
    """SQL: the row is about the person. Empty where rows of the table say nothing of anybody."""
    names = {column.name for column in table.columns}
    parts = [f"(t.account_id, t.{c}) IN (SELECT account_id, old FROM gone_card)" for c in CARD_COLUMNS if c in names]
    parts += [f"t.{c} IN (SELECT old FROM gone_key)" for c in ("phone_key", "email_key") if c in names]
    if _personal(table):
        own = key_of(table)[1]
        nobody_else = "t.contact_id IS NULL AND " if "contact_id" in names and own not in FACTS else ""
        hanging = [c for c in dict.fromkeys((*FACT_COLUMNS, own)) if c in names]
        parts += [f"({nobody_else}(t.account_id, t.{c}) IN (SELECT account_id, old FROM gone_fact))" for c in hanging]
    return " OR ".join(parts)


FACTS = ("deal_id", "chat_id", "customer_id")


def _personal(table: Table) -> list[Any]:
    return [column for column in table.columns if column.info.get("pii") or column.info.get("guarded")]


def _note(connection: Connection, table: Table) -> None:
    """Remember which raw versions the rows were made of, and numbers nobody's card has that stand in them."""
    about, names = _conditions(table), {column.name for column in table.columns}
    connection.exec_driver_sql(
        f"INSERT INTO gone_raw SELECT DISTINCT t.account_id, t.raw_hash FROM {quoted(table.name)} t "
        f"WHERE t.raw_hash <> '' AND ({about})"
    )
    for column in {"phone_key", "email_key"} & names:
        connection.exec_driver_sql(
            f"INSERT INTO gone_row_key SELECT DISTINCT t.{column} FROM {quoted(table.name)} t "
            f"WHERE t.{column} IS NOT NULL AND NOT starts_with(t.{column}, '{STAND_IN}') AND ({about})"
        )


def _erase_rows(connection: Connection, table: Table, load_seq: int) -> int:
    """Empty or remove the rows; how many."""
    about, name = _conditions(table), quoted(table.name)
    names = {column.name for column in table.columns}
    if RECORDS[table.name].owner == "entity_id" and not names & {"phone_key", "email_key"}:
        removed = connection.exec_driver_sql(
            f"DELETE FROM {name} t WHERE (t.account_id, t.entity_id) IN (SELECT account_id, old FROM gone_card)"
        )
        n = int(removed.scalar_one())
    elif names & {"phone_key", "email_key"} and RECORDS[table.name].owner == "entity_id":
        own = "SELECT account_id, old FROM gone_card UNION ALL SELECT account_id, old FROM gone_fact"
        removed = connection.exec_driver_sql(
            f"DELETE FROM {name} t WHERE ({about}) AND (t.account_id, t.entity_id) NOT IN ({own})"
        )
        n = int(removed.scalar_one())
    else:
        n = 0
    sets = {"raw_hash": "''", "load_seq": str(load_seq)}
    for column in _personal(table):
        sets[column.name] = "NULL" if column.nullable else "''"
    if "phone_raw" in names:
        sets["phone_raw"] = "repeat('0', t.phone_digits::BIGINT)"  # how many digits is a fact
    for column in {"phone_key", "email_key"} & names:
        sets[column] = f"coalesce((SELECT k.new FROM gone_key_name k WHERE k.old = t.{column}), t.{column})"
    for column in [c for c in CARD_COLUMNS if c in names]:
        sets[column] = (
            "coalesce((SELECT c.new FROM gone_card c WHERE c.account_id = t.account_id "
            f"AND c.old = t.{column}), t.{column})"
        )
    assigned = ", ".join(f"{quoted(column)} = {sql}" for column, sql in sets.items())
    updated = connection.exec_driver_sql(f"UPDATE {name} t SET {assigned} WHERE {about}")
    return n + int(updated.scalar_one())


def _scrub(connection: Connection, table: Table, pattern: str, load_seq: int) -> int:
    """Empty every other text in which the person stands; a tag that does goes whole. How many rows."""
    n, name, keys = 0, quoted(table.name), key_of(table)
    for column in table.columns:
        if not isinstance(column.type, Text) or column.name in {*keys[:-1], *CARD_COLUMNS, *FACT_COLUMNS, "raw_hash"}:
            continue
        found = f"regexp_matches({quoted(column.name)}, ?)"
        if column.name in keys:
            if column.name == "tag":
                n += int(connection.exec_driver_sql(f"DELETE FROM {name} WHERE {found}", (pattern,)).scalar_one())
            continue
        empty = "NULL" if column.nullable else "''"
        statement = (
            f"UPDATE {name} SET {quoted(column.name)} = {empty}, raw_hash = '', load_seq = {load_seq} WHERE {found}"
        )
        n += int(connection.exec_driver_sql(statement, (pattern,)).scalar_one())
    return n


def _erase_raw(connection: Connection, person: Person) -> int:
    """Remove raw objects, in all their versions: those the rows were made of, and those that name the person."""
    goes = ["EXISTS (FROM gone_raw g WHERE g.account_id = r.account_id AND g.raw_hash = r.raw_hash)"]
    values: list[str] = []
    if (pattern := spellings(person)) is not None:
        goes.append("regexp_matches(decode(r.body), ?)")
        values.append(pattern)
    for account_id in sorted({name[0] for name in person.cards}):
        if (cards := card_pattern(person.cards, account_id)) is not None:
            goes.append("(r.account_id = ? AND regexp_matches(decode(r.body), ?))")
            values += [account_id, cards]
    removed = connection.exec_driver_sql(
        "DELETE FROM raw_record WHERE (account_id, entity, native_id) IN "
        f"(SELECT account_id, entity, native_id FROM raw_record r WHERE {' OR '.join(goes)})",
        tuple(values),
    )
    return int(removed.scalar_one())


def _erase_marks(connection: Connection, person: Person) -> None:
    """What the sync itself keeps about the cards."""
    for account_id, card in person.cards:
        kind, _, number = card.partition(":")
        for table in ("tombstone", "patch"):
            connection.exec_driver_sql(f"DELETE FROM {table} WHERE account_id = ? AND row_id = ?", (account_id, card))
        connection.exec_driver_sql(
            "DELETE FROM sync_reread WHERE native_id = ? AND starts_with(resource, ?) AND account_id IN "
            "(SELECT account_id FROM sync_account WHERE target_account_id = ?)",
            (number, kind[:6], account_id),
        )
