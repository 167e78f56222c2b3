"""`voronka login`: a person allows reading by OAuth, once."""

import os
import sys

from commands.text import _, note, say
from config import Config, ConfigError
from connectors.connector import find_connectors
from warehouse.database import private_folder, said_plainly

NO_OAUTH = "The connector {connector} of account {id} has no OAuth; it uses what `token_env` or `webhook_env` names."


def run_login(config: Config, account_id: str, *, code: str | None, redirect_url: str | None) -> int:
    """Exchange a consent for tokens, kept in the data folder. Without an answer the address to open is printed and
    the answer is read from standard input."""
    entry = config.account(account_id)
    connector = find_connectors()[entry.connector]
    if connector.login is None or connector.login_url is None:
        raise ConfigError(NO_OAUTH, connector=entry.connector, id=account_id)
    answer = code or redirect_url or asked(connector.login_url(entry, env=os.environ))
    state_dir = config.data_dir / "state" / account_id
    for folder in (config.data_dir, state_dir.parent, state_dir):
        private_folder(folder)
    with said_plainly(state_dir):
        connector.login(entry, answer, env=os.environ, state_dir=str(state_dir))
    say(_("Allowed. Now: `voronka sync`."))
    return 0


def asked(url: str) -> str:
    """The code, or the whole address the browser was sent to, from whoever consented."""
    note(_("Open this address as an administrator of the account and allow the access:"))
    say(url)
    note(_("Then paste the address your browser was sent to (or its `code`):"))
    answer = sys.stdin.readline().strip()
    if not answer:
        raise ConfigError(NO_ANSWER)
    return answer


NO_ANSWER = "No code was given. Run the command again, or use --code or --redirect-url."
