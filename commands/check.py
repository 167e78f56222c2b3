"""`voronka check`: the warehouse against the CRM itself, and what differs, with links to the cards."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from app.i18n import translated
from commands.output import deliver, tables_text, to_json
from commands.run import check_with
from commands.status import named
from commands.text import _, language, note
from config import Config

FAILED = 1
NOTHING_TO_COMPARE = "No account of the configuration has lists that can be compared with their source."

Json = dict[str, Any]


def run_check(config: Config, accounts: Sequence[str], *, as_json: bool) -> int:
    """Compare the accounts (all when none is named) and say what differs; 0 where nothing does."""
    results = check_with(config, accounts)
    if not results:
        note(_(NOTHING_TO_COMPARE))
        return 0
    deliver(to_json(results) if as_json else text_of(results).encode(), None, is_text=True)
    return 0 if all(result["state"] == "equal" for result in results.values()) else FAILED


def text_of(results: Mapping[str, Json]) -> str:
    return "\n".join(line for account_id, result in results.items() for line in [account_id, *lines_of(result), ""])


def lines_of(check: Json) -> Iterator[str]:
    """A comparison for people: a sentence, a line per list, then the rows that differ."""
    yield from (f"  {sentence}" for sentence in sentences_of(check))
    parts = {one["resource"] for one in check["lists"]}
    for one in check["lists"]:
        yield f"  {named(one['resource'], parts)}: {'; '.join(told_of(one))}"
    yield from (f"  ! {gate[language()]}" for gate in check.get("history") or ())
    if check.get("n_asked"):
        yield "  " + _("The next sync reads these rows again: {n}.").format(n=check["n_asked"])
    rows = [
        (translated(row["what"], _), row["id"], row["here"] or "—", row["there"] or "—", row["url"] or "—")
        for one in check["lists"]
        for row in one["sample"]
    ]
    if rows:
        names = [_("what differs"), _("row"), _("in the warehouse"), _("in the CRM"), _("card")]
        yield ""
        yield tables_text({"": pl.DataFrame(rows, schema=names, orient="row")}, titled=False).rstrip()


def sentences_of(check: Json) -> list[str]:
    """What a comparison came to as a whole."""
    found = [check.get("error"), check.get("summary"), *(check.get("notes") or ())]
    return [translated(sentence, _) for sentence in found if sentence]


def told_of(one: Json) -> list[str]:
    """How a list was compared, and what was found."""
    return [translated(sentence, _) for sentence in (one["error"], *one["told"], *one["notes"]) if sentence]
