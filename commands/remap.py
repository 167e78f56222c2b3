"""`voronka remap`: rows made anew of what was read before, and what became of them."""

import os
import threading
from collections.abc import Iterator, Sequence

from app.i18n import translated
from commands.erasing import forget_again
from commands.progress import Bars
from commands.run import collecting_rarely, targets_of
from commands.text import _, note
from config import Config
from sync.remap import Remapped, remap

NEVER_READ = "{account}: nothing was read yet; run `voronka sync`."
STOPPED = "Stopped. What was not finished is as it was before."


def run_remap(config: Config, accounts: Sequence[str], *, stop: threading.Event) -> int:
    """Make the rows of the accounts anew (of all when none is named); 0, or 1 when it was stopped."""
    targets = targets_of(config, accounts, os.environ)
    named = {target.target for target in targets}
    sources = [one for one in targets_of(config, (), os.environ) if one.target in named]
    told = 0
    forget_again(config)
    with Bars() as bars, collecting_rarely():
        for done in remap(config.data_dir, sources, progress=bars.move, stop=stop):
            told += 1
            for line in lines(done):
                note(line)
    if told < len(named):
        note(_(STOPPED))
        return 1
    return 0


def lines(done: Remapped) -> Iterator[str]:
    """What a person learns of one account."""
    account = done.account_id
    if not done.tables:
        yield _(NEVER_READ).format(account=account)
        return
    n_changed = sum(table.changed for table in done.tables)
    yield _("{account}: {objects} objects read, {changed} rows are others now.").format(
        account=account, objects=done.n_objects, changed=n_changed
    )
    for table in done.tables:
        yield _("{account} · {table}: {before} rows before, {after} after, {changed} changed, {kept} kept").format(
            account=account, **vars(table)
        )
    for text, n in done.notices.items():
        if n:
            yield f"{account} · {translated(text, _)} ({n})"
    for entity, n in (+done.unknown).items():
        yield _("{account}: this program knows nothing of {n} objects called {entity}; their rows stay.").format(
            account=account, n=n, entity=entity
        )
    if done.whole_since is not None:
        yield _(
            "{account}: superseded versions from before {day} were dropped (retention.raw_versions_days); history from "
            "before stays as it was made then."
        ).format(account=account, day=f"{done.whole_since:%Y-%m-%d}")
    if done.still_mixed:
        yield _("{account}: {names} also decide what is asked for: only `voronka sync --full` reads the rest.").format(
            account=account, names=", ".join(done.still_mixed)
        )
    if n_changed:
        yield _("Now: `voronka publish`.")
