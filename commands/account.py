"""`voronka account remove`: one account, and all there is of it, gone from this machine.

In this order, so that killed anywhere it is run again and goes on: rows of the warehouse in one transaction; the file
written anew; inbox, settings, `status.json`; a whole new publication; generations that held the account; last the
account's folder in `state/`, by which the next run would know that something is left.
"""

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from commands.audit import noted
from commands.forget import confirmed, opened, publish_without
from commands.text import _, note, say
from config import Config, ConfigError
from settings import SettingsStore
from sync import inbox
from warehouse.accounts import feeds, remove_rows
from warehouse.backup import set_aside
from warehouse.database import WAREHOUSE, ask_for_room, private_folder, said_plainly, writer_lock
from warehouse.rewriting import rewrite
from warehouse.status import forget_accounts, read_status

UNKNOWN = "Nothing is known here of an account {got}. Known: {known}."
FEEDS = (
    "What was read of {account} lies among the rows of {target}, which it feeds, and nobody can tell them apart any "
    "more. Take {account} out of the configuration, remove {target}, and sync it again."
)


def run_account_remove(config: Config, account_id: str, *, yes: bool) -> int:
    """Remove the account once it is confirmed; 0, or 1 where it was not."""
    ids = [account_id, *fed_by(config, account_id)]
    note(
        _("This deletes everything that was read of {accounts}, their tokens and settings.").format(
            accounts=", ".join(ids)
        )
    )
    if not (yes or confirmed()):
        return 1
    with said_plainly(config.data_dir):
        return remove(config, ids)


def remove(config: Config, ids: Sequence[str]) -> int:
    """Remove the first of the accounts, and those that feed it."""
    for folder in state_folders(config.data_dir, ids):
        for parent in (folder.parent, folder):
            private_folder(parent)
    with writer_lock(config.data_dir):
        noted(config, "account.remove", account=ids[0])
        rows = remove_from_warehouse(config, ids)
        n_heard = sum(inbox.remove_account(config.data_dir, one) for one in ids)
        store = SettingsStore(config.settings_path)
        n_set = sum(store.remove_account(one) for one in ids)
        forget_accounts(config.data_dir, ids)
    n_generations = publish_without(
        config, lambda manifest: bool({a["account_id"] for a in manifest["accounts"]} & {*ids})
    )
    for folder in state_folders(config.data_dir, ids):
        shutil.rmtree(folder)
    say(
        _(
            "Removed {accounts}: {rows} rows of {tables} tables, {settings} settings, {heard} ids of webhooks, "
            "{generations} generations of the publication."
        ).format(
            accounts=", ".join(ids),
            rows=sum(rows.values()),
            tables=len(rows),
            settings=n_set,
            heard=n_heard,
            generations=n_generations,
        )
    )
    say_what_is_left(config, ids)
    return 0


def fed_by(config: Config, account_id: str) -> list[str]:
    """Accounts whose rows lie under this one, which go with it. ConfigError where it feeds another, or is unknown."""
    targets = {entry.id: entry.feeds or entry.id for entry in config.accounts}
    if (config.data_dir / WAREHOUSE).exists():
        with writer_lock(config.data_dir), opened(config) as engine, engine.begin() as connection:
            targets |= feeds(connection)
    state = config.data_dir / "state"
    noted = {folder.name for folder in state.iterdir() if folder.is_dir()} if state.exists() else set()
    noted |= {account["account_id"] for account in (read_status(config.data_dir) or {}).get("accounts", [])}
    if account_id not in {*targets, *noted}:
        raise ConfigError(UNKNOWN, got=repr(account_id), known=", ".join(sorted({*targets, *noted})) or "—")
    target = targets.get(account_id, account_id)
    if target != account_id:
        raise ConfigError(FEEDS, account=account_id, target=target)
    return sorted(one for one, its in targets.items() if its == account_id and one != account_id)


def state_folders(data_dir: Path, ids: Collection[str]) -> list[Path]:
    return [data_dir / "state" / one for one in ids]


def remove_from_warehouse(config: Config, ids: Collection[str]) -> dict[str, int]:
    if not (config.data_dir / WAREHOUSE).exists():
        return {}
    ask_for_room(config.data_dir, (config.data_dir / WAREHOUSE).stat().st_size)  # before anything is deleted
    with opened(config) as engine, engine.begin() as connection:
        rows = remove_rows(connection, ids)
    rewrite(config.data_dir)
    for pace in (config.data_dir / "state").glob("*.pace"):
        pace.unlink()  # named after a host; the others are made again
    return rows


def say_what_is_left(config: Config, ids: Collection[str]) -> None:
    if configured := [entry.id for entry in config.accounts if entry.id in ids]:
        say(
            _(
                "Still in the configuration: {accounts}. The next sync reads them again unless you take them out."
            ).format(accounts=", ".join(configured))
        )
    for folder in set_aside(config.data_dir):
        say(_("Set aside by a restore, and may still hold it: {folder}. Remove it.").format(folder=folder))
    say(_("Backups and exports made before still hold it: delete them. The CRM is never written to."))
