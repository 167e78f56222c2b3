"""Bitrix24, in the cloud or on a server of one's own, over its REST API."""

from connectors.bitrix24.access import login, login_url
from connectors.bitrix24.api import account, open_api, viewer
from connectors.bitrix24.counting import COMPARABLES
from connectors.bitrix24.doctor import examine
from connectors.bitrix24.replay import BitrixReplay
from connectors.bitrix24.resources import RESOURCES
from connectors.bitrix24.settings import BitrixSettings
from connectors.connector import Connector

CONNECTOR = Connector(
    settings=BitrixSettings,
    open=open_api,
    account=account,
    resources=RESOURCES,
    replay=BitrixReplay,
    examine=examine,
    login_url=login_url,
    login=login,
    viewer=viewer,
    comparables=COMPARABLES,
)
