"""Calls: doubles taken out, legs joined into episodes (R-DEDUP), scope (R-CALLSCOPE)."""

from collections.abc import Iterator
from datetime import datetime

import polars as pl

from metrics.marts.facts import Facts

SAME_ID_S = 300
"""Telephony systems reuse ids: equal ones mean one call only this close together."""
SAME_START_S, SAME_TALK_S = 5, 2
"""How close start and talk of two records of one call are where an id is missing."""
MIN_DIGITS = 6
"""A shorter number is an extension."""

LINKS = ["contact_id", "company_id", "deal_id", "card_kind", "card_id"]


COLUMNS = ["call_id", "external_uniq", "external_call_id", "call_group_id", "direction", "subtype", "is_internal"]
COLUMNS += ["started_at", "started_epoch", "wait_s", "talk_s", "status", "user_id", "phone_key", "phone_digits"]
COLUMNS += ["line", "entity_kind", "entity_id", "contact_id", "company_id", "deal_id", "provider", "has_recording"]


def records(facts: Facts) -> Iterator[pl.DataFrame]:
    """Call records seen by `as_of`, part by part.

    Records that R-DEDUP may make one are in one part: those that a later call may still join wait for it.
    """
    waiting: list[pl.DataFrame] = []
    for begin, end in facts.spans("call", "started_at"):
        calls = pl.concat([*waiting, facts.alive("call", COLUMNS, at="started_at", within=(begin, end))])
        is_last = end > facts.as_of
        is_open = pl.repeat(False, calls.height, eager=True) if is_last else _open(calls, end, facts.params.leg_gap_s)
        waiting = [calls.filter(is_open)]
        yield calls.filter(~is_open)


def _open(calls: pl.DataFrame, end: datetime, leg_gap_s: int) -> pl.Series:
    """Which of `calls`, all before `end`, may become one with later ones; with them all that may become one with those.

    A later call joins within five minutes of a start or `leg_gap_s` of an end, of one phone or one id of its telephony.
    A missing length may come from a double, so it counts as the longest.
    """
    longest = {name: pl.col(name).fill_null(pl.col(name).max()).fill_null(0) for name in ("wait_s", "talk_s")}
    lasts_s = longest["wait_s"] + longest["talk_s"] + leg_gap_s
    found = calls.select(
        caller=pl.coalesce("phone_key", _shared(), _text("external_uniq")),
        uniq=_text("external_uniq"),
        is_open=pl.col("started_epoch") + pl.max_horizontal(lasts_s, SAME_ID_S) >= int(end.timestamp()),
    )
    is_open, n = found["is_open"], -1
    while (n_open := int(is_open.sum())) != n:
        n, those = n_open, found.filter(is_open)
        for key in ("caller", "uniq"):
            is_open |= found[key].is_in(those[key].drop_nulls().implode()).fill_null(False)
    return is_open


def _with_keys(calls: pl.DataFrame) -> pl.DataFrame:
    """`calls` in order of start and id, with the keys that de-duplication compares.

    Numbers instead of texts: sorting hundreds of thousands of 64-letter keys is most of the work otherwise.
    """
    source = (_number(name).fill_null(0) for name in ("provider", "direction"))
    uniq = pl.when(_text("external_uniq").is_not_null()).then(pl.format("{}:{}:{}", *source, "external_uniq"))
    ordered = calls.rename({"entity_kind": "card_kind", "entity_id": "card_id"}).sort("started_epoch", "call_id")
    return ordered.with_columns(
        phone=_number("phone_key"),
        uniq=_number(uniq),
        user=_number("user_id"),
        way=_number("direction"),
        has_recording=pl.col("has_recording").fill_null(False),
        phone_digits=pl.col("phone_digits").fill_null(0),
    )


def _text(name: str) -> pl.Expr:
    """The text; null for a blank one."""
    return pl.when(pl.col(name).str.strip_chars().str.len_chars() > 0).then(name)


def _shared() -> pl.Expr:
    """What the telephony calls the whole of several legs."""
    return pl.coalesce(_text("call_group_id"), _text("external_call_id"))


def _number(of: str | pl.Expr) -> pl.Expr:
    """A number from 1 per distinct text, in no order; null where the text is."""
    text = pl.col(of) if isinstance(of, str) else of
    return text.cast(pl.Categorical).to_physical().cast(pl.Int64) + 1


def without_doubles(found: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """R-DEDUP steps 1 and 2, of `records`.

    Returns:
        the records that stay, with the links of those that went; and call_id, kept_id: which record each became.
    """
    calls = _with_keys(found)
    once, first = _merged(calls, _same_id(calls))
    twice, second = _merged(once, _same_instant(once))
    became = first.join(second.rename({"call_id": "kept_id", "kept_id": "final_id"}), on="kept_id")
    return twice.sort("started_epoch", "call_id"), became.select("call_id", kept_id="final_id")


def _same_id(calls: pl.DataFrame) -> pl.DataFrame:
    """call_id and group: records of one id, direction, phone and user within five minutes.

    A record without a user or phone goes with the one that has them; different users are legs, which stay apart.
    """
    near = (
        calls.filter(pl.col("uniq").is_not_null())
        .sort("uniq", "started_epoch", "call_id")
        .with_columns(session=_new_group(["uniq"], gap_s=SAME_ID_S).cum_sum())
        .filter(pl.col("session").is_duplicated())
        .with_columns(pl.col("user", "phone").forward_fill().backward_fill().over("session"))
        .sort("session", "user", "phone", "started_epoch", "call_id")
    )
    groups = _new_group(["session", "user", "phone"], gap_s=SAME_ID_S).cum_sum()
    return near.select("call_id", group=groups)


def _same_instant(calls: pl.DataFrame) -> pl.DataFrame:
    """call_id and group: records of one direction, phone, user, start and talk of which all but one lack an id."""
    key = ["way", "phone", "user"]
    talk = pl.col("talk_s")
    is_far = ((talk - talk.shift(1)).abs() > SAME_TALK_S).fill_null(talk.is_null().ne_missing(talk.shift(1).is_null()))
    near = (
        calls.filter(pl.col("phone").is_not_null())
        .sort(*key, "started_epoch", "call_id")
        .with_columns(session=(_new_group(key, gap_s=SAME_START_S) | is_far).cum_sum())
        .filter(pl.col("session").is_duplicated())
        .with_columns(of_id=pl.col("uniq").forward_fill().backward_fill().over("session"))
    )
    return near.select("call_id", group=pl.struct("session", "of_id").rank("dense").cast(pl.UInt32))


def _new_group(key: list[str], *, gap_s: int) -> pl.Expr:
    """Whether a row of a sorted frame starts a group: another key, or more than `gap_s` after the row before."""
    values = pl.struct(key)
    is_late = pl.col("started_epoch") - pl.col("started_epoch").shift(1) > gap_s
    return values.ne_missing(values.shift(1)) | is_late.fill_null(True)


def _merged(calls: pl.DataFrame, groups: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One record per group: the one with a recording, then with a user, then of the smallest id, with all links."""
    grouped = calls.join(groups, on="call_id", how="inner").filter(pl.col("group").is_duplicated())
    alone = calls.join(grouped, on="call_id", how="anti")
    is_deal = pl.col("card_kind").is_in(["lead", "deal"])
    by_worth = grouped.sort(
        "group", "has_recording", pl.col("user_id").is_not_null(), "call_id", descending=[False, True, True, False]
    )
    ranked = by_worth.with_columns(
        deal_kind=pl.when(is_deal).then("card_kind"), deal_card=pl.when(is_deal).then("card_id")
    )
    kept = ranked.group_by("group", maintain_order=True).agg(
        pl.col("call_id", "subtype", "status", "has_recording", "phone_digits", "direction", "way").first(),
        pl.col("is_internal").any(),
        pl.col("started_at", "started_epoch").min(),
        *(
            pl.col(name).drop_nulls().first()
            for name in calls.columns
            if name in {*LINKS, *FILLED} or name in {"deal_kind", "deal_card"}
        ),
        pl.col("deal_kind", "deal_card").drop_nulls().first(),
        pl.col("call_id").alias("members"),
    )
    became = kept.select("members", kept_id="call_id").explode("members").rename({"members": "call_id"})
    stay = kept.with_columns(
        card_kind=pl.coalesce("deal_kind", "card_kind"), card_id=pl.coalesce("deal_card", "card_id")
    )
    identity = alone.select("call_id", kept_id="call_id")
    return pl.concat([alone, stay.select(alone.columns)]), pl.concat([identity, became.select(identity.columns)])


FILLED = {
    "external_uniq",
    "external_call_id",
    "call_group_id",
    "wait_s",
    "talk_s",
    "user_id",
    "user",
    "phone_key",
    "phone",
    "line",
    "provider",
    "uniq",
}
"""Columns taken from the best record that has them."""


def with_episode(calls: pl.DataFrame, leg_gap_s: int) -> pl.DataFrame:
    """R-DEDUP step 3: `calls` with `episode`, a number, and `is_new`: the first leg.

    Inbound legs of one phone on one line that overlap, follow within `leg_gap_s`, or share an id of their telephony
    within five minutes are one episode. Without a phone only the id tells. Other directions are never joined.
    """
    shared = pl.coalesce(_shared(), pl.format("\0{}", "uniq"))  # no telephony's id begins so
    ends = pl.col("started_epoch") + pl.col("wait_s").fill_null(0) + pl.col("talk_s").fill_null(0)
    inbound = (
        calls.filter(pl.col("direction") == "in")
        .with_columns(shared=shared, ends=ends, line_no=_number("line"))
        .with_columns(caller=pl.coalesce(pl.col("phone"), -_number("shared")))
        .sort("caller", "line_no", "started_epoch", "call_id")
    )
    caller = pl.struct("caller", "line_no")
    busy_until = pl.col("ends").cum_max().over("caller", "line_no").shift(1)
    follows = pl.col("started_epoch") <= busy_until + leg_gap_s
    started = pl.col("started_epoch")
    is_same_id = (pl.col("shared") == pl.col("shared").shift(1)) & (started - started.shift(1) <= SAME_ID_S)
    joins = (
        caller.eq_missing(caller.shift(1)) & pl.col("caller").is_not_null() & (follows | is_same_id).fill_null(False)
    )
    numbered = inbound.with_columns(is_new=~joins.fill_null(False)).with_columns(episode=pl.col("is_new").cum_sum())
    others = calls.filter(pl.col("direction") != "in").with_columns(is_new=pl.lit(True))
    after = numbered["episode"].max() or 0
    return pl.concat(
        [
            numbered.select(*calls.columns, "is_new", pl.col("episode").cast(pl.Int64)),
            others.with_columns(episode=pl.int_range(1, pl.len() + 1, dtype=pl.Int64) + after),
        ]
    )


def episodes(legs: pl.DataFrame) -> pl.DataFrame:
    """One row per episode: the columns of `call_episode` that calls alone can tell, and the links of its legs."""
    is_answered = (pl.col("status") == "answered") & pl.col("subtype").ne_missing("robot")
    is_in = pl.col("direction").first() == "in"
    ordered = legs.with_columns(is_answered=is_answered).sort("episode", "started_epoch", "call_id")
    answered_talk = pl.when("is_answered").then(pl.col("talk_s").fill_null(0))
    longest = answered_talk.arg_max()
    n_rung = pl.col("user_id").drop_nulls().n_unique().cast(pl.Int64)
    only_user = pl.when(n_rung == 1).then(pl.col("user_id").drop_nulls().first())
    begin = pl.col("started_epoch").min()
    answered_wait = (pl.col("started_epoch") + pl.col("wait_s")).filter("is_answered").min() - begin
    rung_wait = (pl.col("started_epoch") + pl.col("wait_s")).max() - begin
    return ordered.group_by("episode", maintain_order=True).agg(
        pl.col("direction").first(),
        episode_id=pl.col("call_id").first(),
        is_answered=pl.col("is_answered").any(),
        started_at=pl.col("started_at").min(),
        wait_s=pl.when(pl.col("is_answered").any()).then(answered_wait).otherwise(rung_wait),
        talk_s=pl.when(pl.col("is_answered").any())
        .then(pl.when(pl.col("talk_s").filter("is_answered").count() > 0).then(answered_talk.sum()))
        .otherwise(0),
        n_legs=pl.len().cast(pl.Int64),
        user_id=pl.when(pl.col("is_answered").any())
        .then(pl.col("user_id").get(longest, null_on_oob=True))
        .otherwise(only_user),
        rung_user_id=pl.when(is_in).then(only_user),
        n_rung=pl.when(is_in).then(n_rung).otherwise(0),
        line=pl.col("line").drop_nulls().first(),
        phone_key=pl.col("phone_key").drop_nulls().first(),
        phone_digits=pl.col("phone_digits").max(),
        is_internal=pl.col("is_internal").any() | pl.col("phone_digits").max().is_between(1, MIN_DIGITS - 1),
        is_robot=(pl.col("subtype") == "robot").fill_null(False).any(),
        is_voicemail=(pl.col("status") == "voicemail").any() & ~pl.col("is_answered").any(),
        has_recording=pl.col("has_recording").any(),
        **{name: pl.col(name).drop_nulls().first() for name in LINKS},
    )


def legs_table(legs: pl.DataFrame, became: pl.DataFrame, episode: pl.DataFrame) -> pl.DataFrame:
    """`call_episode_leg`: to which episode each record went, and whether it was a double."""
    names = legs.select("call_id", "episode").join(episode.select("episode", "episode_id"), on="episode")
    return became.join(names.select("episode_id", kept_id="call_id"), on="kept_id").select(
        "call_id", "episode_id", is_duplicate=pl.col("call_id") != pl.col("kept_id")
    )
