"""amoCRM and Kommo, over their API v4. Facts and their sources are cited where they are used."""

from connectors.amocrm.access import login, login_url
from connectors.amocrm.api import account, open_api, viewer
from connectors.amocrm.counting import COMPARABLES, TRACES
from connectors.amocrm.doctor import examine
from connectors.amocrm.replay import AmoReplay
from connectors.amocrm.resources import RESOURCES
from connectors.amocrm.settings import AmoSettings
from connectors.amocrm.webhooks import hear
from connectors.connector import Connector

CONNECTOR = Connector(
    settings=AmoSettings,
    open=open_api,
    account=account,
    resources=RESOURCES,
    replay=AmoReplay,
    examine=examine,
    login_url=login_url,
    login=login,
    viewer=viewer,
    comparables=COMPARABLES,
    traces=TRACES,
    hear=hear,
)
