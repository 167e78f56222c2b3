"""Reads all leads or deals with a public client: run by `bench/sync_amocrm.py` and `bench/sync_bitrix24.py`, in an
environment that has nothing of ours.

python bench/peers.py CLIENT URL      prints {"seconds": …, "ids": …}; without what Python needs to import the client
"""

import asyncio
import importlib
import json
import sys
import time
from typing import Any


def aioamocrm(url: str) -> list[int]:
    from aioamocrm import AmoCRMClient, LongLivedToken

    async def read() -> list[int]:
        async with AmoCRMClient(auth=LongLivedToken("demo-token"), base_url=url, rate_limit=None) as client:
            return [lead.id async for lead in client.leads.iterate(with_=["contacts"])]

    return asyncio.run(read())


def amocrm_api_wrapper(url: str) -> list[int]:
    from amocrm_api import AmoOAuthClient

    client = AmoOAuthClient("demo-token", "", url, "", "", "")
    return [lead.id for lead in client.iter_leads(with_params=["contacts"], limit=250)]


def amocrm_api(url: str) -> list[int]:
    """Its address is fixed; nothing else of it is changed."""
    from amocrm.v2 import Lead
    from amocrm.v2.interaction import BaseInteraction

    class Token:
        def get_access_token(self) -> str:
            return "demo-token"

    BaseInteraction._get_url = lambda _self, path: f"{url}/api/v4/{path}"
    Lead.objects._interaction._token_manager = Token()
    return [lead.id for lead in Lead.objects.all()]


def fast_bitrix24(url: str) -> list[int]:
    from fast_bitrix24 import Bitrix

    client = Bitrix(f"{url}/rest/1/demosecret/", verbose=False)
    return [deal["id"] for deal in client.get_all("crm.item.list", {"entityTypeId": 2})]


def b24pysdk(url: str) -> list[int]:
    """It speaks nothing but https, which loopback does not."""
    import requests
    from b24pysdk import BitrixWebhook

    send = requests.Session.send

    def plain(self: Any, request: Any, **more: Any) -> Any:
        request.url = str(request.url).replace("https://", "http://", 1)
        return send(self, request, **more)

    requests.Session.send = plain
    token = BitrixWebhook(domain=url.removeprefix("http://"), webhook_token="1/demosecret")
    found = token.call_list_fast("crm.item.list", {"entityTypeId": 2}, timeout=60)
    return [deal["id"] for deal in found["result"]]


CLIENTS = {
    "aioamocrm": ("aioamocrm", aioamocrm),
    "amocrm-api-wrapper": ("amocrm_api", amocrm_api_wrapper),
    "amocrm-api": ("amocrm.v2", amocrm_api),
    "fast-bitrix24": ("fast_bitrix24", fast_bitrix24),
    "b24pysdk": ("b24pysdk", b24pysdk),
}
"""What to import, and what reads, by the client's name."""

if __name__ == "__main__":
    module, read = CLIENTS[sys.argv[1]]
    importlib.import_module(module)
    begun = time.perf_counter()
    ids = read(sys.argv[2])
    print(json.dumps({"seconds": time.perf_counter() - begun, "ids": [int(one) for one in ids]}))
