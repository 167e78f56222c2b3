"""Sessions of open lines and the messages of chats of the emulated Bitrix24 (`bitrix24.md`, 4.14)."""

from demo import bitrix24_php as php
from demo.bitrix24_calls import Answer, Call, Json, Registry
from demo.bitrix24_errors import RestError
from demo.bitrix24_rows import one, owned
from demo.bitrix24_values import Row
from demo.bitrix24_wire import camel

CHATS = Registry()


@CHATS.method("imopenlines.session.history.get", "imopenlines")
def _session(call: Call) -> Answer:
    missing = RestError("ACCESS_DENIED", "You dont have access to this session")
    row = one(call, "session", call.integer("SESSION_ID"), missing=missing)
    messages = {str(m["ID"]): _message(call, row, m) for m in reversed(row["MESSAGES"])}
    users = {str(user["ID"]): {camel(name): value for name, value in user.items()} for user in row.get("USERS") or ()}
    return Answer({
        "chatId": row["CHAT_ID"], "sessionId": row["ID"], "canJoin": "N", "message": messages or [],
        "users": users or [], "files": [],
    })  # fmt: skip


def _message(call: Call, row: Row, message: Row) -> Json:
    return {
        "id": str(message["ID"]), "chatid": str(row["CHAT_ID"]), "senderid": str(message["SENDERID"]),
        "recipientid": f"chat{row['CHAT_ID']}", "date": call.wire.instant(message["DATE"]), "text": message["TEXT"],
        "params": message.get("PARAMS") or [],
    }  # fmt: skip


@CHATS.method("imopenlines.crm.chat.get", "imopenlines")
def _crm_chats(call: Call) -> Answer:
    """Chats of a card; only those still going on unless asked otherwise."""
    owner = str(call.param("CRM_ENTITY_TYPE", "")).upper(), call.integer("CRM_ENTITY")
    active_only = call.param("ACTIVE_ONLY", "Y") != "N"
    found = {
        row["CHAT_ID"]: {"CHAT_ID": str(row["CHAT_ID"]), "CONNECTOR_ID": row["CONNECTOR_ID"],
                         "CONNECTOR_TITLE": row["CONNECTOR_ID"]}
        for row in owned(call, "session", *owner)
        if not (active_only and row.get("CLOSED", True))
    }  # fmt: skip
    return Answer(list(found.values()))


@CHATS.method("imopenlines.dialog.get", "imopenlines")
def _dialog(call: Call) -> Answer:
    chat, session = call.integer("CHAT_ID"), call.integer("SESSION_ID")
    rows = [row for row in call.rows("session") if row["ID"] == session or row["CHAT_ID"] == chat]
    if not rows:
        raise RestError("ACCESS_DENIED", "You dont have access to this chat")
    row = rows[-1]
    links = "|".join(f"{kind}|{row.get(f'{kind}_ID') or 0}" for kind in ("LEAD", "COMPANY", "CONTACT", "DEAL"))
    return Answer({"id": row["CHAT_ID"], "entity_data_1": f"Y|LEAD|0|N|N|{row['ID']}|", "entity_data_2": links})


@CHATS.method("im.dialog.messages.get", "im")
def _dialog_messages(call: Call) -> Answer:
    """A page of messages before LAST_ID, or after FIRST_ID."""
    chat = php.integer(str(call.param("DIALOG_ID", "")).removeprefix("chat"))
    messages = [
        _message(call, row, message) for row in call.rows("session") if row["CHAT_ID"] == chat
        for message in row["MESSAGES"]
    ]  # fmt: skip
    limit = min(call.integer("LIMIT") or 20, 50)
    before, after = call.integer("LAST_ID"), call.integer("FIRST_ID")
    if after or call.param("FIRST_ID") is not None:
        page = [one for one in messages if int(one["id"]) > after][:limit]
    else:
        page = [one for one in messages if not before or int(one["id"]) < before][::-1][:limit]
    return Answer({"chat_id": chat, "messages": page, "users": [], "files": []})
