"""People who were forgotten, and what of them a later reading may still write.

The list (`forgotten`) holds HMACs under `phone.key`, never a number or a name: of phones (those of `phone_key`), of
e-mails (`email_key`), of cards (`contact`, `company`) and of facts, the things that stay though they hang on a person:
deals, leads, chats, customers. Without the key nobody can test a number against it.

What is read of a forgotten card is dropped. What is read of a fact, or names the card, the phone or the e-mail, is
stripped: texts, numbers and pointers empty, so that a call stays a call at 10:05 and a deal stays a deal. A card that
comes with a phone or an e-mail of the list is the same person again and joins the list. Raw objects of all of these are
not kept. Everything held back is counted.
"""

import hmac
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import orjson
import polars as pl
from sqlalchemy import Connection

from connectors.phones import to_e164
from connectors.records import (
    Chat,
    ClientEmail,
    ClientPhone,
    Company,
    Contact,
    Customer,
    Deal,
    DealContact,
    OwnedSet,
    RawRecord,
    Record,
)
from warehouse.columns import layout
from warehouse.database import WAREHOUSE
from warehouse.models import metadata
from warehouse.status import replace_file

if TYPE_CHECKING:
    from warehouse.load import Sorted

STAND_IN = "forgotten-"
"""What a forgotten card or number is called in the rows that stay: `contact:forgotten-<random>`. Kept nowhere else."""

LIST = "forgotten.json"
TO_FORGET = "forget.unfinished"
"""While it is there, people of `LIST` are still to be erased from a warehouse that was restored."""

CARDS: tuple[type[Record], ...] = (Contact, Company)
CARD_COLUMNS = ("contact_id", "company_id", "main_contact_id", "entity_id", "from_id", "into_id")
FACT_COLUMNS = ("deal_id", "parent_deal_id", "chat_id", "customer_id", "entity_id", "subject_id")
REPLACEABLE = (*CARD_COLUMNS, "phone_key")
DIGITS = re.compile("[0-9]+")
FEWEST_DIGITS, MOST_DIGITS = 10, 15
"""Of a number that is looked for in texts."""
WORDS = {"contact": "contact", "company": "compan(?:y|ies)"}
"""How sources name a kind of card, in any of their spellings: `contacts`, `CONTACT_ID`, `companyId`."""

OF_TYPE = {
    kind: rf'"?,"[a-z_]*type(?:_id)?":"?(?:{word}|{code}\b)'
    for (kind, word), code in zip(WORDS.items(), "34", strict=True)
}
"""What stands behind the number of a card in the keys of JSON, which are sorted: `,"entity_type":"contacts"`,
`,"OWNER_TYPE_ID":"3"`."""

PHONES, EMAILS = r"\+?[0-9](?:[\s().\-–]{0,3}[0-9]){9,}", r"[\w.+\-]+@[\w\-]+(?:\.[\w\-]+)+"
NO_NUMBER = r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
"""Names of things in raw objects, full of digits; to read each as a number costs more than all else."""

NAMING = {kind: (rf"(?i){word}[^0-9]{{0,40}}[0-9]+", rf"(?i)[0-9]+{OF_TYPE[kind]}") for kind, word in WORDS.items()}
"""Regular expressions of Polars, which reads a batch of raw objects a hundred times as fast as Python: numbers with
whatever digits stand around them, addresses, and numbers of cards by a word before or after them."""

MOST_KNOWN = 200_000
"""Hashes, and owners of names, that a run keeps at hand."""

Name = tuple[str, str]
"""Account and our id of a card or a fact."""


def hashed(value: str, key: bytes) -> str:
    return hmac.digest(key, value.encode(), "sha256").hex()


def card_hash(name: Name, key: bytes) -> str:
    return hashed(f"card:{name[0]}:{name[1]}", key)


class Suppression:
    """The list as one run of the loader knows it."""

    def __init__(self, connection: Connection, *, key: bytes) -> None:
        self.connection, self.key = connection, key
        rows = connection.exec_driver_sql("SELECT kind, hash, person FROM forgotten").fetchall()
        self.known: dict[tuple[str, str], str] = {(row[0], row[1]): row[2] for row in rows}
        self.learned: dict[tuple[str, Name], str] = {}
        self.holed: set[Name] = set()
        self.stopped: Counter[str] = Counter()
        """By account: rows and raw objects held back or stripped since the run began."""
        self._told: Counter[str] = Counter()
        found = connection.exec_driver_sql("SELECT account_id, default_region FROM account").fetchall()
        self.regions = {row[0]: row[1] for row in found}
        self._hashes: dict[str, str] = {}
        self._owners: dict[tuple[str, str, object], str | None] = {}
        self._saying: dict[tuple[str, str], str] = {}

    def __bool__(self) -> bool:
        return bool(self.known)

    # --- is it on the list? -------------------------------------------------------------------------------------------

    def person(self, kind: str, value: str | None) -> str | None:
        """Whose phone (E.164) or e-mail (normal form) it is."""
        return None if not value else self.known.get((kind, self._hash(value)))

    def owner(self, kind: str, account_id: str, row_id: object) -> str | None:
        """Whose card or fact it is."""
        key = (kind, account_id, row_id)
        if key in self._owners:
            return self._owners[key]
        is_name = isinstance(row_id, str) and ":" in row_id
        found = self.known.get((kind, self._hash(f"card:{account_id}:{row_id}"))) if is_name else None
        if len(self._owners) > MOST_KNOWN:
            self._owners.clear()
        self._owners[key] = found
        return found

    def mentioned(self, texts: Collection[str], account_id: str, *, cards: bool = False) -> dict[str, str]:
        """The texts in which a phone or an e-mail of the list stands, in whatever spelling, each with whose it is.

        cards: also those that name a card of the list, as raw objects do.
        """
        whose: list[tuple[str, Callable[[str], str | None]]] = [
            (PHONES, partial(self._of_digits, self.regions.get(account_id) or "RU")),
            (EMAILS, lambda token: self.person("email", token.lower())),
        ]
        for kind, patterns in NAMING.items() if cards else ():
            whose += [(pattern, partial(self._of_card, kind, account_id)) for pattern in patterns]
        found: dict[str, str] = {}
        asked = pl.Series(list(texts), dtype=pl.String).str.replace_all(NO_NUMBER, " ")
        for pattern, person_of in whose:
            tokens = asked.str.extract_all(pattern)
            each = tokens.explode().drop_nulls().unique().to_list()
            known = {token: person for token in each if (person := person_of(token))}
            for text, mine in zip(texts, tokens.to_list(), strict=True) if known else ():
                if token := next((one for one in mine if one in known), None):
                    found.setdefault(text, known[token])
        return found

    def _of_digits(self, region: str, digits: str) -> str | None:
        return next((found for number in numbers_in(digits, region) if (found := self.person("phone", number))), None)

    def _of_card(self, kind: str, account_id: str, naming: str) -> str | None:
        return self.owner("card", account_id, card_in(naming, kind))

    def _hash(self, value: str) -> str:
        if len(self._hashes) > MOST_KNOWN:
            self._hashes.clear()
        if (found := self._hashes.get(value)) is None:
            found = self._hashes[value] = hashed(value, self.key)
        return found

    # --- a batch ------------------------------------------------------------------------------------------------------

    def withhold(self, batch: "Sorted", *, now: datetime) -> set[tuple[str, str]]:
        """Take out of a batch what must not be written, and strip what stays.

        Returns account and `raw_hash` of the raw objects that anything held back was made of.
        """
        self.holed.clear()
        self._meet(batch, now)
        self._read_texts(batch)
        hashes: set[tuple[str, str]] = set()
        for kind, (seqs, records) in list(batch.records.items()):
            kept = [
                (seq, one)
                for seq, r in zip(seqs, records, strict=True)
                if (one := self._stripped(r, hashes)) is not None
            ]
            batch.records[kind] = ([seq for seq, _ in kept], [one for _, one in kept])
        for kind, stubs in list(batch.stubs.items()):
            batch.stubs[kind] = [one for r in stubs if (one := self._stripped(r, hashes)) is not None]
        for kind, sets in list(batch.sets.items()):
            batch.sets[kind] = {
                name: (seq, one) for name, (seq, s) in sets.items() if (one := self._set(kind, s, hashes)) is not None
            }
        batch.records = _nonempty(batch.records, lambda value: value[1])
        batch.stubs, batch.sets = _nonempty(batch.stubs), _nonempty(batch.sets)
        batch.tombstones = [one for one in batch.tombstones if not self._is_card(one[1].account_id, one[1].id)]
        batch.vague = [one for one in batch.vague if not self._is_card(one[1].account_id, one[1].id)]
        batch.patches = [one for one in batch.patches if not self._is_card(one.account_id, one.id)]
        named = self._named(batch.raw)
        batch.raw = [
            one for one, person in zip(batch.raw, named, strict=True) if not self._stops(one[1], person, hashes)
        ]
        self._tell()
        return hashes

    def _meet(self, batch: "Sorted", now: datetime) -> None:
        """Cards that carry a number or an address of the list, and facts that hang on cards of the list."""
        for kind, what, column in ((ClientPhone, "phone", "phone_e164"), (ClientEmail, "email", "email_norm")):
            for _, owned in batch.sets.get(kind, {}).values():
                is_card = owned.owner_table is Contact
                if is_card or owned.owner_table is Deal:  # a company's card is no person's: it loses the number only
                    people = (self.person(what, getattr(row, column)) for row in owned.rows)
                    self._learn("card" if is_card else "fact", owned.account_id, owned.owner_id, people, now)
        hanging: tuple[tuple[type[Record], str, str], ...] = (
            (Deal, "deal_id", "main_contact_id"),
            (Deal, "deal_id", "company_id"),
            (Chat, "chat_id", "contact_id"),
            (Customer, "customer_id", "contact_id"),
        )
        for fact, key, pointer in hanging:
            for record in batch.records.get(fact, ((), ()))[1]:
                owner = self.owner("card", record.account_id, getattr(record, pointer))
                self._learn("fact", record.account_id, getattr(record, key), [owner], now)
        for _, owned in batch.sets.get(DealContact, {}).values():
            owners = (self.owner("card", owned.account_id, getattr(row, "contact_id", None)) for row in owned.rows)
            self._learn("fact", owned.account_id, owned.owner_id, owners, now)

    def _learn(self, kind: str, account_id: str, row_id: str, people: Iterable[str | None], now: datetime) -> None:
        person = next((one for one in people if one), None)
        key = (kind, self._hash(f"card:{account_id}:{row_id}"))
        if person is None or key in self.known:
            return
        self.known[key] = person
        self._owners.clear()
        self.learned[kind, (account_id, row_id)] = person
        self.connection.exec_driver_sql("INSERT INTO forgotten VALUES (?, ?, ?, ?, 0)", (*key, person, now))

    def _is_card(self, account_id: str, row_id: str) -> bool:
        return self._stop(account_id, self.owner("card", account_id, row_id))

    def _stop(self, account_id: str, person: str | None) -> bool:
        if person is None:
            return False
        self.stopped[account_id] += 1
        self._told[person] += 1
        return True

    def _stripped(self, record: Any, hashes: set[tuple[str, str]]) -> Any:
        """The record without what is personal; None where nothing may stay of it; itself where it is about others."""
        columns, account_id = _columns(record.__class__), record.account_id
        pointing = {
            name: found for name in columns.cards if (found := self.owner("card", account_id, getattr(record, name)))
        }
        person = next(iter(pointing.values()), None) or self._named_in(record, columns)
        if person is None:
            return record
        self._stop(account_id, person)
        hashes.add((account_id, record.raw_hash))
        if not pointing.keys().isdisjoint(columns.fixed) or isinstance(record, ClientPhone | ClientEmail):
            return None
        empty = {name: "" if name in columns.required else None for name in columns.personal}
        if "phone_raw" in columns.names and record.phone_raw:
            empty["phone_raw"] = re.sub(r"\D", "", record.phone_raw).translate(ZEROS)  # how many digits is a fact
        return record.model_copy(update={**empty, **dict.fromkeys(pointing), "raw_hash": ""})

    def _named_in(self, record: Any, columns: "Columns") -> str | None:
        """Whom a record is about by its number, its address, its texts, or the fact it hangs on."""
        account_id = record.account_id
        found = self.person("phone", record.phone_e164) if "phone_e164" in columns.names else None
        found = found or (self.person("email", record.email_norm) if "email_norm" in columns.names else None)
        if found or isinstance(record, CARDS):
            return found
        for name in columns.texts:
            text = getattr(record, name)
            if text and (found := self._saying.get((account_id, text))):
                return found
        own = self.owner("fact", account_id, getattr(record, columns.own))
        if own or not columns.personal:
            return own if columns.personal else None
        if "contact_id" in columns.names and record.contact_id:  # about somebody else, on the same deal
            return None
        return next((p for name in columns.facts if (p := self.owner("fact", account_id, getattr(record, name)))), None)

    def _set(self, kind: type[Record], owned: OwnedSet, hashes: set[tuple[str, str]]) -> OwnedSet | None:
        account_id = owned.account_id
        owner = self.owner("card", account_id, owned.owner_id)
        if kind in (ClientPhone, ClientEmail):
            owner = owner or self.owner("fact", account_id, owned.owner_id)
        if owner:
            hashes.update((account_id, row.raw_hash) for row in owned.rows)
            self._stop(account_id, owner)
            return None
        rows = [one for row in owned.rows if (one := self._stripped(row, hashes)) is not None]
        if len(rows) < len(owned.rows):
            self.holed.add((account_id, owned.owner_id))
        return OwnedSet(kind, account_id, owned.owner_id, owned.owner_table, tuple(rows))

    def _read_texts(self, batch: "Sorted") -> None:
        """Remember which texts of the records say who somebody on the list is."""
        said: dict[str, set[str]] = defaultdict(set)
        records: list[Sequence[Record]] = [records for _, records in batch.records.values()]
        records += batch.stubs.values()
        records += [owned.rows for sets in batch.sets.values() for _, owned in sets.values()]
        for record in chain.from_iterable(records):
            for name in _columns(record.__class__).texts:
                if text := getattr(record, name):
                    said[record.account_id].add(text)
        self._saying = {
            (account_id, text): person
            for account_id, texts in said.items()
            for text, person in self.mentioned(texts, account_id).items()
        }

    def _named(self, raw: Sequence[tuple[int, RawRecord]]) -> list[str | None]:
        """Whom each raw object names."""
        bodies: dict[str, dict[str, str]] = defaultdict(dict)  # by account: text of each hash
        for _, one in raw:
            bodies[one.account_id][one.raw_hash] = one.body.decode()
        people = {
            account_id: self.mentioned(texts.values(), account_id, cards=True) for account_id, texts in bodies.items()
        }
        return [people[one.account_id].get(bodies[one.account_id][one.raw_hash]) for _, one in raw]

    def _stops(self, raw: RawRecord, person: str | None, hashes: set[tuple[str, str]]) -> bool:
        """Whether a raw object must not be kept: it names a person, or what was made of it was held back."""
        if (raw.account_id, raw.raw_hash) in hashes:
            self.stopped[raw.account_id] += 1
            return True
        if person is None:
            return False
        hashes.add((raw.account_id, raw.raw_hash))
        return self._stop(raw.account_id, person)

    def _tell(self) -> None:
        for person, n in self._told.items():
            self.connection.exec_driver_sql(
                "UPDATE forgotten SET n_stopped = n_stopped + ? WHERE hash = ?", (n, person)
            )
        self._told.clear()

    # --- a sweep ------------------------------------------------------------------------------------------------------

    def unseen(self, page: pl.DataFrame, account_id: str) -> pl.DataFrame:
        """A page of a sweep (row_id, says) without forgotten cards: they are neither missing nor to be read again."""
        kept = [self.owner("card", account_id, row_id) is None for row_id in page["row_id"]]
        says = [
            None if text is None else SAID.sub(lambda card: self._or_nothing(account_id, card[0]), text)
            for text in page["says"]
        ]
        tidy = pl.Series("says", says, dtype=pl.String).str.replace_all(r",{2,}", ",")
        tidy = tidy.str.replace_all(r"(^|/),", "$1").str.replace_all(r",(/|$)", "$1")
        return page.with_columns(tidy).filter(pl.Series(kept, dtype=pl.Boolean))

    def _or_nothing(self, account_id: str, card: str) -> str:
        return card if self.owner("card", account_id, card) is None else ""


SAID = re.compile(r"\b(?:contact|company):\w+")
ZEROS = str.maketrans("123456789", "000000000")


def numbers_in(digits: str, region: str) -> Iterator[str | None]:
    """Numbers in E.164 that digits with what people write between them may be: of one, several or all of their groups,
    for a date, or another number, may stand beside a number."""
    groups = [match.span() for match in DIGITS.finditer(digits)]
    for first, (begin, _) in enumerate(groups):
        n = 0
        for since, until in groups[first:]:
            n += until - since
            if n > MOST_DIGITS:
                break
            if n >= FEWEST_DIGITS:
                yield to_e164(digits[0 if first == 0 else begin : until], region)


def card_in(naming: str, kind: str) -> str:
    """Our id of a card: its number stands first or last in what names it."""
    found = DIGITS.match(naming) or DIGITS.search(naming)
    return f"{kind}:{found[0]}" if found else ""


class Columns:
    """What columns of a record mean here.

    names: all. own: its id. cards, facts: those that name cards and facts. fixed: those that may not be null. personal:
    what is emptied; required: of these the fixed ones. texts: in which numbers and addresses are looked for.
    """

    def __init__(self, kind: type[Record]) -> None:
        lay, table = layout(kind), metadata.tables[kind.table()]
        self.fixed = frozenset(column.name for column in table.columns if not column.nullable)
        self.names = frozenset(lay.names)
        self.own = lay.keys[1] if len(lay.keys) > 1 else lay.keys[0]
        self.cards = [name for name in CARD_COLUMNS if name in lay.names]
        self.facts = [name for name in FACT_COLUMNS if name in lay.names]
        is_employee = kind.table() in EMPLOYEES
        personal = [c for c in table.columns if c.info.get("pii") or c.info.get("guarded")]
        self.personal = [] if is_employee else [c.name for c in personal if c.name in lay.names]
        self.required = self.fixed & set(self.personal)
        self.texts = [c.name for c in personal if str(c.type) == "TEXT" and c.name in self.personal]


EMPLOYEES = ("user", "user_alias")
"""Tables of people who work here; they are not the ones to forget."""


@cache
def _columns(kind: type[Record]) -> Columns:
    return Columns(kind)


def _nonempty(found: Any, rows: Any = lambda value: value) -> Any:
    left: Any = defaultdict(found.default_factory)
    left.update({kind: value for kind, value in found.items() if rows(value)})
    return left


def lift(connection: Connection, hash_: str) -> int:
    """Take a person off the list, by the beginning of any of the hashes; how many hashes went."""
    gone = connection.exec_driver_sql(
        "DELETE FROM forgotten WHERE person IN (SELECT person FROM forgotten WHERE starts_with(hash, ?)) "
        "RETURNING hash",
        (hash_,),
    ).fetchall()
    return len(gone)


def listed(connection: Connection) -> list[dict[str, Any]]:
    """Whom the list holds: hash, forgotten_at, n_phones, n_emails, n_cards, n_facts, n_stopped; no personal data."""
    rows = connection.exec_driver_sql(
        "SELECT person AS hash, min(forgotten_at) AS forgotten_at, count(*) FILTER (kind = 'phone') AS n_phones, "
        "count(*) FILTER (kind = 'email') AS n_emails, count(*) FILTER (kind = 'card') AS n_cards, "
        "count(*) FILTER (kind = 'fact') AS n_facts, sum(n_stopped)::BIGINT AS n_stopped "
        "FROM forgotten GROUP BY person ORDER BY 2, 1"
    )
    return [dict(row._mapping) for row in rows]


def save(connection: Connection, data_dir: Path) -> None:
    """Keep the list beside the warehouse too: a backup made before somebody was forgotten knows nothing of them."""
    key = connection.exec_driver_sql("SELECT key_fingerprint FROM identity").scalar_one()
    rows = connection.exec_driver_sql("SELECT kind, hash, person, forgotten_at FROM forgotten ORDER BY ALL").fetchall()
    if rows or (data_dir / LIST).exists():
        replace_file(data_dir / LIST, orjson.dumps({"key": key, "hashes": [list(row) for row in rows]}))


def save_closed(data_dir: Path) -> bool:
    """The same of a warehouse nobody has open, where it can still be read; whether there is anybody on the list."""
    try:
        with duckdb.connect(str(data_dir / WAREHOUSE), read_only=True) as connection:
            key = connection.execute("SELECT key_fingerprint FROM identity").fetchall()[0][0]
            rows = connection.execute("SELECT kind, hash, person, forgotten_at::VARCHAR FROM forgotten").fetchall()
    except duckdb.Error:  # none, a damaged one, one from before there was a list
        rows = []
    if rows:
        before = saved(data_dir)
        known = [tuple(row) for row in before["hashes"]] if before["key"] == key else []
        listed = {row[:2]: row for row in [*known, *rows]}
        replace_file(data_dir / LIST, orjson.dumps({"key": key, "hashes": [*listed.values()]}))
    return bool(saved(data_dir)["hashes"])


def saved(data_dir: Path) -> dict[str, Any]:
    """The list beside the warehouse: key, the fingerprint of `phone.key`, and hashes: kind, hash, person, when."""
    try:
        found: dict[str, Any] = orjson.loads((data_dir / LIST).read_bytes())
    except FileNotFoundError:
        return {"key": None, "hashes": []}
    return found


def remember(connection: Connection, person: str, hashes: Sequence[tuple[str, str]], *, now: datetime) -> None:
    """Put hashes (kind, hash) of one person on the list; those that are there stay whose they are."""
    for kind, one in hashes:
        connection.exec_driver_sql(
            "INSERT INTO forgotten VALUES (?, ?, ?, ?, 0) ON CONFLICT DO NOTHING", (kind, one, person, now)
        )
