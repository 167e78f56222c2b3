"""What erasing a person does besides the rows of the warehouse, and doing it again after a restore."""

import re
import shutil
from datetime import UTC, datetime

from sqlalchemy import Connection

from commands.audit import noted
from config import Config
from settings import SettingsStore
from sync import inbox
from warehouse import suppression
from warehouse.database import open_warehouse, personal_key, writer_lock
from warehouse.forgetting import Erased, Person, Returned, erase_returned, spellings
from warehouse.rewriting import rewrite


def next_load_seq(connection: Connection) -> int:
    """Later than every load so far."""
    tables = ("call", "contact", "deal", "message", "task", "field_value", "client_phone")
    newest = " UNION ALL ".join(f"SELECT max(load_seq) AS n FROM {table}" for table in tables)
    return int(connection.exec_driver_sql(f"SELECT coalesce(max(n), 0) + 1 FROM ({newest})").scalar_one())


def erase_beside(config: Config, person: Person, erased: Erased) -> None:
    """What lies beside the warehouse: settings of people, the inbox of webhooks, caches."""
    pattern = spellings(person)
    looked_for = re.compile(pattern or r"(?!)")
    store = SettingsStore(config.settings_path)
    store.forget(erased.renamed, lambda text: looked_for.search(text) is not None)
    for _account_id, card in person.cards:
        inbox.erase(config.data_dir, card)
    shutil.rmtree(config.data_dir / "cache", ignore_errors=True)


def forget_again(config: Config) -> Returned:
    """Erase people that a restore has brought back, before anything is read into the warehouse or published of it.

    Killed anywhere, it does all of it again at the next call. Hashes under another `phone.key` are of no use here.
    """
    if not (config.data_dir / suppression.TO_FORGET).exists():
        return Returned()
    with writer_lock(config.data_dir):
        listed, now = suppression.saved(config.data_dir), datetime.now(UTC)
        engine = open_warehouse(config.data_dir)
        try:
            with engine.begin() as connection:
                key = personal_key(config.data_dir, connection)
                mine = connection.exec_driver_sql("SELECT key_fingerprint FROM identity").scalar_one()
                hashes = listed["hashes"] if mine == listed["key"] else []
                rows = [(kind, one, who, datetime.fromisoformat(at)) for kind, one, who, at in hashes]
                done = erase_returned(
                    connection,
                    rows,
                    key=key,
                    load_seq=next_load_seq(connection),
                    now=now,
                )
                if done.people:
                    noted(config, "forget.again", n=len(done.people))
        finally:
            engine.dispose()
        if done.people:
            rewrite(config.data_dir)
        for person, erased in zip(done.people, done.erased, strict=True):
            erase_beside(config, person, erased)
        (config.data_dir / suppression.TO_FORGET).unlink()
    return done
