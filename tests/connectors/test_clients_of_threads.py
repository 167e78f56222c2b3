"""Threads do not wait for each other inside the HTTP client, and none of their clients is left open."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from amo_fake import amo


def test_every_thread_asks_through_a_client_of_its_own_and_all_are_closed():
    api, _ = amo()
    together = Barrier(2)

    def ask(_):
        together.wait()
        api.get("/api/v4/account")
        return api._client._http()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first is not second
    api.close()
    assert first.is_closed
    assert second.is_closed
