"""What can go wrong with a source, grouped by the reaction to it.

ConnectorError
 ├─ RetriableError     the client repeats the request by itself; when it gives up, the resource is tried next run
 │   └─ SlowError      the source was too slow for what was asked (504): ask for less at once
 ├─ CredentialsError   stop this account and tell a person: token, rights, payment, block
 └─ PayloadError       stop this resource: the source said something that cannot be understood
     ├─ ForbiddenError the token may not read this list, or the plan lacks it; the others go on
     └─ MissingError   there is no such list (404): not every account has every one

A message says what happened, where and what to do. It never holds a token, a URL or personal data.
"""


class Phrase(str):
    """An English sentence that remembers its template and what went into it, so that it can be said in Russian too.

    Whoever shows it translates the template (`app/locale/*/sources.po`); everybody else has a text.
    """

    template: str
    fields: dict[str, object]

    def __new__(cls, template: str, **fields: object) -> "Phrase":
        phrase = super().__new__(cls, template.format(**fields))
        phrase.template, phrase.fields = template, fields
        return phrase

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, object]]:
        return (self.template,), self.fields


class SpokenError(Exception):
    """An error that is a sentence for a person."""

    def __init__(self, template: str, **fields: object) -> None:
        self.said = template if isinstance(template, Phrase) else Phrase(template, **fields)
        super().__init__(self.said)


class ConnectorError(SpokenError):
    """Something about the source; never raised itself."""


class RetriableError(ConnectorError):
    """Network, 5xx or rate limit: worth repeating later. Watermarks stay where they were."""


class SlowError(RetriableError):
    """The source gave up on a request (504); a smaller page may do."""


class CredentialsError(ConnectorError):
    """A person has to act: wrong or revoked token, missing rights, unpaid or blocked account."""


class PayloadError(ConnectorError):
    """An answer that does not fit what the reference says, or a request the source calls wrong."""


class ForbiddenError(PayloadError):
    """The token has no right to this one list, or the account's plan does not include it."""


class MissingError(PayloadError):
    """The source has no such list."""
