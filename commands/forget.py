"""`voronka forget`: one person erased everywhere, and the proof of it.

In this order, so that killed anywhere it is run again and goes on: settings and inbox, while it is known which cards
are the person's; rows of the warehouse and the list of those who must not come back in one transaction; the file
written anew; a whole new publication; older ones and caches deleted; then everything is searched. Backups are files of
the person who made them: nobody here knows where they are, so the message says that those made before still hold the
person.
"""

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
from sqlalchemy import Connection, Engine

from commands.audit import noted
from commands.erasing import erase_beside, next_load_seq
from commands.output import tables_text
from commands.run import publish_with
from commands.text import _, note, say
from config import Config, ConfigError
from connectors.phones import to_e164
from metrics.links import CARDS, card_url
from settings import SettingsStore
from warehouse import suppression
from warehouse.accounts import is_anything_read
from warehouse.backup import set_aside
from warehouse.database import WAREHOUSE, open_warehouse, personal_key, said_plainly, writer_lock
from warehouse.forgetting import Asked, Erased, Person, erase, find, spellings
from warehouse.publish import read_manifest
from warehouse.rewriting import remove_generations, remove_publication, rewrite
from warehouse.searching import Wanted, search

FAILED = 1

WHAT = "{got} is no phone, e-mail or card. Write +79991234567, anna@example.org, contact:123 or the card's address."
NO_CARD_OF = "{got} is in none of the accounts. Name one of its account's cards, or write contact:123 and --account."
AMBIGUOUS = "{got} is there in several accounts: {accounts}. Say with --account which one."
NOBODY = "Nothing is known of this person, and nothing was changed."
NEEDS_YES = "There is no terminal to ask on. Check what is asked, and add --yes."
NO_WAREHOUSE = "There is no warehouse in {folder} yet."
NO_SUCH_HASH = "There is no hash that begins with {got}. `voronka forget --list` shows them."
NEEDS_ONE = "Name whom to forget, or --list, or --lift HASH."
SHORTEST_HASH = 8


def run_forget(config: Config, who: str | None, *, account: str | None, yes: bool) -> int:
    """Erase the person; 0, or 1 where nothing was known or something is left."""
    if not who:
        raise ConfigError(NEEDS_ONE)
    if not (config.data_dir / WAREHOUSE).exists():
        raise ConfigError(NO_WAREHOUSE, folder=config.data_dir)
    with said_plainly(config.data_dir):
        person = erased_in_warehouse(config, who, account, yes=yes)
        if person is None:
            return FAILED
        publish_without(config)
        return proven(config, person)


def erased_in_warehouse(config: Config, who: str, account: str | None, *, yes: bool) -> Person | None:
    """Who was erased, under the writer lock, once it is confirmed; None: nothing is known, or nothing was wanted."""
    with writer_lock(config.data_dir):
        with opened(config) as engine, engine.connect() as connection, connection.begin() as transaction:
            key = personal_key(config.data_dir, connection)
            asked = understood(connection, who, account)
            person = find(connection, asked)
            refuse_ambiguous(asked, person)
            if asked.kind == "card":
                asked = of_account(connection, asked, person, key)
            person_hash = asked.hash(key)
            is_listed = is_on_list(connection, person_hash)
            now = datetime.now(UTC)
            erased = erase(
                connection,
                person,
                belongs_to=person_hash,
                key=key,
                load_seq=next_load_seq(connection),
                now=now,
            )
            if not erased.rows and not erased.n_raw and not is_listed:
                note(_(NOBODY))
                transaction.rollback()
                return None
            suppression.remember(connection, person_hash, [(asked.kind, person_hash)], now=now)
            describe(connection, person, erased)
            if not (yes or confirmed()):
                transaction.rollback()
                return None
            n_rows = sum(erased.rows.values())
            suppression.save(connection, config.data_dir)
            noted(config, "forget", person=person_hash[:16], rows=n_rows, raw_objects=erased.n_raw)
            erase_beside(config, person, erased)  # while rows still say which cards are the person's
        rewrite(config.data_dir)
    if asked.kind == "card" and asked.account_id and not person.is_known:
        return replace(person, cards=((asked.account_id, asked.value),))  # gone before; to be searched for all the same
    return person


def understood(connection: Connection, who: str, account: str | None) -> Asked:
    """What was named. An address of a card says its account."""
    if re.match(r"https?://", who):
        return card_at(connection, who)
    if re.fullmatch(r"(contact|company|lead):\d+", who):
        return Asked("card", who, account)
    if "@" in who:
        return Asked("email", who.strip().lower())
    rows = connection.exec_driver_sql("SELECT DISTINCT default_region FROM account ORDER BY 1").fetchall()
    for region in [row[0] for row in rows] or ["RU"]:
        if number := to_e164(who, region):
            return Asked("phone", number)
    raise ConfigError(WHAT, got=repr(who))


def card_at(connection: Connection, url: str) -> Asked:
    """The card an address leads to."""
    address = urlsplit(url)
    for account_id, connector, base_url in connection.exec_driver_sql(
        "SELECT account_id, connector, base_url FROM account ORDER BY 1"
    ).fetchall():
        if urlsplit(base_url).netloc != address.netloc:
            continue
        for (system, kind), (before, _after) in CARDS.items():
            if system == connector and (found := re.match(re.escape(before) + r"(\d+)", address.path)):
                return Asked("card", f"{kind}:{found[1]}", account_id)
    raise ConfigError(NO_CARD_OF, got=url)


def refuse_ambiguous(asked: Asked, person: Person) -> None:
    accounts = sorted({account_id for account_id, name in person.cards + person.leads if name == asked.value})
    if asked.kind == "card" and len(accounts) > 1:
        raise ConfigError(AMBIGUOUS, got=asked.value, accounts=", ".join(accounts))


def of_account(connection: Connection, asked: Asked, person: Person, key: bytes) -> Asked:
    """The card with its account: where it is found, else where it was, should an earlier run have been cut off."""
    rows = connection.exec_driver_sql("SELECT account_id FROM account ORDER BY 1").fetchall()
    of_each = [replace(asked, account_id=row[0]) for row in rows if asked.account_id in (None, row[0])]
    of_found = [replace(asked, account_id=account_id) for account_id, _name in person.cards + person.leads]
    return next(iter((*of_found, *(one for one in of_each if is_on_list(connection, one.hash(key))))), asked)


def is_on_list(connection: Connection, person_hash: str) -> bool:
    found = connection.exec_driver_sql("SELECT count(*) FROM forgotten WHERE hash = ?", (person_hash,))
    return bool(found.scalar_one())


def describe(connection: Connection, person: Person, erased: Erased) -> None:
    """What was found, without a name or a number: the cards can be looked at in the CRM."""
    accounts = {
        row[0]: {"connector": row[1], "base_url": row[2]}
        for row in connection.exec_driver_sql("SELECT account_id, connector, base_url FROM account").fetchall()
    }
    for account_id, name in person.cards + person.leads:
        note(f"  {account_id} {name} {card_url(accounts.get(account_id, {}), name) or ''}".rstrip())
    found = _("Phones: {phones}, e-mails: {emails}, rows: {rows}, raw objects: {raw}.")
    rows = sum(erased.rows.values())
    note(found.format(phones=len(person.phones), emails=len(person.emails), rows=rows, raw=erased.n_raw))
    if person.n_shared:
        note(_("Numbers and addresses that other cards have too, and that stay there: {n}.").format(n=person.n_shared))
    if person.companies:
        names = ", ".join(f"{account_id} {name}" for account_id, name in person.companies)
        note(_("Cards of companies that lose the number only: {names}.").format(names=names))


def confirmed() -> bool:
    if not sys.stdin.isatty():
        raise ConfigError(NEEDS_YES)
    print(_("Erase all this for good? Type yes: "), end="", file=sys.stderr, flush=True)  # noqa: T201
    return sys.stdin.readline().strip().lower() in ("yes", "да")


def publish_without(config: Config, holds: Callable[[dict[str, Any]], bool] = lambda _: True) -> int:
    """Publish whole what is left, and delete the generations that hold what went, and caches; how many generations.

    holds: whether a manifest says so; by default every one does.
    """
    n = published_anew(config, holds)
    shutil.rmtree(config.data_dir / "cache", ignore_errors=True)
    return n


def published_anew(config: Config, holds: Callable[[dict[str, Any]], bool]) -> int:
    if read_manifest(config.publication) is None:
        return remove_publication(config.publication)
    with writer_lock(config.data_dir), opened(config) as engine, engine.begin() as connection:
        is_left = is_anything_read(connection)
    if not is_left:
        return remove_publication(config.publication)
    publish_with(config, full=True)
    with writer_lock(config.data_dir):
        return remove_generations(config.publication, holds)


def proven(config: Config, person: Person) -> int:
    """Search everything and say where; 1 where the person is still found."""
    with writer_lock(config.data_dir):
        found = search(config.data_dir, Wanted(spellings(person), person.cards))
    note(
        _("Searched: {columns} columns of {tables} tables, {files} files byte by byte ({mb} MB).").format(
            columns=found.n_columns, tables=found.n_tables, files=found.n_files, mb=f"{found.n_bytes / 1e6:.0f}"
        )
    )
    if not person.names:
        note(_("The name was not searched for: it is unknown, too short, or somebody else has it too."))
    for where, n in found.places:
        note(_("Still there: {where} ({n}).").format(where=where, n=n))
    for where in found.unread:
        note(_("Damaged, so nobody can say who is in it: {where}. Delete it.").format(where=where))
    if not found.places:
        note(_("Found: 0."))
    list_copies(config)
    note(_("Backups and exports made before still hold the person: delete them. The CRM too: it is never written to."))
    return FAILED if found.places or found.unread else 0


def list_copies(config: Config) -> None:
    """Copies that may hold the person and are still where they were made: what restores moved aside, backups, and
    exports with personal columns, as the audit log knows them."""
    copies = {str(folder): "before-restore" for folder in set_aside(config.data_dir)}
    for line in SettingsStore(config.settings_path).audit(MOST_LINES):
        detail = line["detail"]
        for file in (detail.get("file"), detail.get("to")) if detail.get("is_personal") else ():
            if file and Path(file).is_file():
                copies.setdefault(file, line["action"])
    for file, what in copies.items():
        note(_("Made before, look whether it goes: {file} ({what}).").format(file=file, what=what))


MOST_LINES = 1_000_000


@contextmanager
def opened(config: Config) -> Iterator[Engine]:
    engine = open_warehouse(config.data_dir)
    try:
        yield engine
    finally:
        engine.dispose()


# --- the list ---------------------------------------------------------------------------------------------------------


def show_list(config: Config) -> int:
    with writer_lock(config.data_dir), opened(config) as engine, engine.begin() as connection:
        rows = suppression.listed(connection)
    schema = ["hash", "forgotten_at", "n_phones", "n_emails", "n_cards", "n_facts", "n_stopped"]
    frame = pl.DataFrame([{name: row[name] for name in schema} for row in rows], schema=schema)
    shown = frame.with_columns(pl.col("hash").cast(pl.String).str.head(16))
    say(tables_text({"": shown}, titled=False).rstrip("\n"))
    return 0


def lift(config: Config, beginning: str) -> int:
    with writer_lock(config.data_dir), opened(config) as engine, engine.begin() as connection:
        n = suppression.lift(connection, beginning) if len(beginning) >= SHORTEST_HASH else 0
        if not n:
            raise ConfigError(NO_SUCH_HASH, got=repr(beginning))
        suppression.save(connection, config.data_dir)
        noted(config, "lift", person=beginning[:16])
    note(_("Lifted. What was erased comes only with a new reading: `voronka sync --full`."))
    return 0
