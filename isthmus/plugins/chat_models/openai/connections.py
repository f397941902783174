"""Connections to one address, for calls whose body is JSON and whose answer is read whole.

They lie below the official client, whose models of requests and responses take several times the
processor of all the rest of a call: at hundreds of calls at once, the server would wait for us.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


@dataclass(frozen=True, slots=True)
class Came:
    """What an answer consists of."""

    status: int
    headers: Mapping[str, str]
    text: str


class Connections:
    """Any number of them at once, inside one event loop, until `close`. Proxies are those of the
    environment. Nothing is tried twice, no redirect followed, no cookie kept."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """Raises ImportError where aiohttp is missing."""
        import aiohttp
        from multidict import CIMultiDict
        from yarl import URL

        self._url = URL(url)
        self._settings: dict[str, Any] = {
            "headers": CIMultiDict({**headers, "Content-Type": "application/json"}),
            "allow_redirects": False,
        }
        if proxy := proxy_for(url):  # asked once: aiohttp itself would ask for every call
            self._settings["proxy"] = URL(proxy)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def post(self, body: bytes) -> Came:
        """One call. Raises what aiohttp raises."""
        async with self._session.post(self._url, data=body, **self._settings) as answer:
            content = await answer.read()
            return Came(answer.status, answer.headers, content.decode("utf-8", "replace"))

    async def close(self) -> None:
        """Let go of all of them."""
        await self._session.close()


def proxy_for(url: str) -> str | None:
    """What the environment has for this address: HTTPS_PROXY, NO_PROXY and the like."""
    said = urlsplit(url)
    if proxy_bypass(said.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    return proxies.get(said.scheme) or proxies.get("all")
