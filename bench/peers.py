"""Reads all leads with a public client: run by `bench/sync_amocrm.py`, in an environment that has nothing of ours.

python bench/peers.py CLIENT URL      prints {"seconds": …, "leads": …}
"""

import asyncio
import json
import sys
import time


def aioamocrm(url: str) -> int:
    from aioamocrm import AmoCRMClient, LongLivedToken

    async def read() -> int:
        async with AmoCRMClient(auth=LongLivedToken("demo-token"), base_url=url, rate_limit=None) as client:
            return len([lead async for lead in client.leads.iterate(with_=["contacts"])])

    return asyncio.run(read())


def amocrm_api_wrapper(url: str) -> int:
    from amocrm_api import AmoOAuthClient

    client = AmoOAuthClient("demo-token", "", url, "", "", "")
    return len(list(client.iter_leads(with_params=["contacts"], limit=250)))


def amocrm_api(url: str) -> int:
    """Its address is fixed; nothing else of it is changed."""
    from amocrm.v2 import Lead
    from amocrm.v2.interaction import BaseInteraction

    class Token:
        def get_access_token(self) -> str:
            return "demo-token"

    BaseInteraction._get_url = lambda _self, path: f"{url}/api/v4/{path}"  # type: ignore[method-assign]
    Lead.objects._interaction._token_manager = Token()
    return len(list(Lead.objects.all()))


CLIENTS = {"aioamocrm": aioamocrm, "amocrm-api-wrapper": amocrm_api_wrapper, "amocrm-api": amocrm_api}

if __name__ == "__main__":
    begun = time.perf_counter()
    leads = CLIENTS[sys.argv[1]](sys.argv[2])
    print(json.dumps({"seconds": time.perf_counter() - begun, "leads": leads}))
