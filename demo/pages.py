"""How the demo CRMs show a card: a plain page, names escaped, nothing in it that runs."""

from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape

from demo.office import MSK_S

Line = tuple[str, str]
"""What a row is about, and its HTML."""


def moment(at: int) -> str:
    """Local date and time of an instant."""
    return f"{datetime.fromtimestamp(at + MSK_S, UTC):%d.%m.%Y %H:%M}"


def block(title: str, lines: Iterator[Line]) -> str:
    """A titled table; nothing where there are no lines."""
    rows = "".join(f"<tr><th>{name}</th><td>{text}</td></tr>" for name, text in lines)
    heading = f"<h2>{title}</h2>" if title else ""
    return f"{heading}<table>{rows}</table>" if rows else ""


def page(title: str, content: str, *, crm: str) -> str:
    """A whole page. title: as it is, content: HTML. crm: whose card the reader would see with his own data."""
    return (
        '<!doctype html><html lang="ru"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<p class=note>Демо-CRM с выдуманной компанией: так откроется карточка в вашей {crm}.</p>"
        f"<main><h1>{escape(title)}</h1>{content}</main></body></html>"
    )


STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 0 auto; max-width: 46rem; padding: 1rem }
h1 { font-size: 1.4rem; overflow-wrap: anywhere } h2 { font-size: 1.05rem; margin: 1.5rem 0 .25rem }
table { border-collapse: collapse; width: 100% }
th, td { padding: .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #8884 }
th { font-weight: 400; opacity: .7; width: min(11rem, 38%); padding-right: 1rem } td { overflow-wrap: anywhere }
.note { background: #8882; border-radius: .5rem; padding: .5rem .75rem; margin: 0 }
"""


def missing(*, crm: str) -> str:
    """What a link to a card leads to that is gone."""
    text = "Её удалили или объединили с другой. В демо-CRM такой карточки больше нет."
    return page("Карточки нет", f"<p>{text}</p>", crm=crm)
