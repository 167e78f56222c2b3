"""Secrets that answers of Bitrix24 hold, in addresses of files and in errors, are kept nowhere and shown nowhere."""

import logging
from pathlib import Path

import httpx
import pytest
from bitrix_demo import BY_CONSENT, Portal, rows
from bitrix_portal import ENV, HOST, SECRET, error
from bitrix_portal import Portal as FewRows

from connectors.bitrix24.access import WebhookAuth, webhook
from connectors.bitrix24.answers import BitrixAnswers
from connectors.bitrix24.settings import BitrixSettings
from connectors.errors import PayloadError
from demo.bitrix24_setup import FILE_FIELD

WEBHOOK = b"d3m0secret"
OF_FILE = b"NGYz"


class Asked(Portal):
    """Remembers what was answered."""

    is_touched = True

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        self.told = getattr(self, "told", b"") + answer.content
        return answer


def everything(data_dir: Path) -> bytes:
    """All tables of the warehouse, with what is packed unpacked, and all other files."""
    tables = [name for (name,) in rows(data_dir, "SELECT table_name FROM duckdb_tables()")]
    kept = [repr(row).encode() for table in tables for row in rows(data_dir, f'SELECT * FROM "{table}"')]
    files = [file.read_bytes() for file in data_dir.rglob("*") if file.is_file()]
    return b"\n".join([*kept, *files])


def test_the_webhook_in_addresses_of_files_is_kept_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    portal = Asked(has_files=True)
    assert portal.synced(tmp_path).is_well
    assert WEBHOOK in portal.told
    assert OF_FILE in portal.told
    assert rows(tmp_path, "SELECT count(*) FROM raw_record WHERE contains(body::VARCHAR, 'getFile')") > [(0,)]
    found = everything(tmp_path) + caplog.text.encode()
    assert WEBHOOK not in found
    assert OF_FILE not in found


def test_tokens_in_addresses_of_files_are_kept_nowhere(tmp_path: Path):
    portal = Asked(has_files=True)
    portal.settings = BY_CONSENT
    portal.consents(tmp_path / "state" / "main")
    assert portal.synced(tmp_path).is_well
    tokens = [token.encode() for token in portal.server.oauth._access]
    assert any(b"?auth=" + token in portal.told for token in tokens)
    kept = b"\n".join(repr(row).encode() for row in rows(tmp_path, "SELECT * FROM raw_record"))
    assert not any(token in kept for token in tokens)


def test_a_file_is_kept_by_its_number(tmp_path: Path):
    portal = Portal(has_files=True)
    portal.synced(tmp_path)
    values = "SELECT DISTINCT value_text = right(entity_id, strlen(value_text)) FROM field_value WHERE field_id LIKE "
    assert rows(tmp_path, f"{values}'%{FILE_FIELD}'") == [(True,)]


def answers() -> BitrixAnswers:
    hook = webhook(BitrixSettings(id="main", connector="bitrix24", webhook_env="BITRIX_WEBHOOK"), ENV)
    return BitrixAnswers(WebhookAuth(hook, variable="BITRIX_WEBHOOK"), secret=hook.secret)


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (rf'"{HOST}\/rest\/1\/{SECRET}\/profile"', rf'"{HOST}\/rest\/1\/…\/profile"'),
        (f'"{SECRET.upper()}"', '"…"'),
        (r'"\/show.php?auth=a1B2.c-d_e\u0026id=5"', r'"\/show.php?auth=…\u0026id=5"'),
        (r'"\/get\/?id=5\u0026token=crm%7CaWQ\/9+MTM=%7Cx"', r'"\/get\/?id=5\u0026token=…"'),
        (r'"[url=https:\/\/x\/?id=1\u0026amp;ACCESS_TOKEN=abc]a file[\/url]"', None),
        ('"his token=5, author: auth=6"', '"his token=5, author: auth=6"'),
        ('{"AUTHOR_ID": "5", "token": "x"}', '{"AUTHOR_ID": "5", "token": "x"}'),
    ],
)
def test_secrets_are_taken_out_of_addresses_and_other_text_is_left(told, kept):
    found = answers().clean(told.encode()).decode()
    assert found == (kept or r'"[url=https:\/\/x\/?id=1\u0026amp;ACCESS_TOKEN=…]a file[\/url]"')


def test_a_body_without_secrets_is_not_copied():
    body = b'{"result": [{"ID": "1", "AUTHOR_ID": "5"}]}'
    assert answers().clean(body) is body


@pytest.mark.parametrize(
    "code", [f"no method {HOST}/rest/1/{SECRET}/profile for ivan@example.org", "ivan@example.org", "X" * 61, "Иван"]
)
def test_a_code_that_is_none_is_not_shown(code):
    portal = FewRows()
    portal.before = lambda _: error(400, code)
    with pytest.raises(PayloadError, match=r"refused with unknown\.") as caught:
        portal.open().call("profile")
    assert code.casefold() not in str(caught.value).casefold()


@pytest.mark.parametrize(("code", "shown"), [("ERROR_CORE", "ERROR_CORE"), (0, "0"), ("", "400")])
def test_a_code_is_shown(code, shown):
    portal = FewRows()
    portal.before = lambda _: error(400, code)
    with pytest.raises(PayloadError, match=rf"refused with {shown}\."):
        portal.open().call("profile")


def test_a_webhook_in_other_letters_is_not_shown_either():
    portal = FewRows()
    portal.before = lambda _: error(400, "ERROR_CORE", f"cannot run /rest/1/{SECRET.upper()}/profile")
    with pytest.raises(PayloadError, match="cannot run") as caught:
        portal.open().call("profile")
    assert SECRET.casefold() not in str(caught.value).casefold()
