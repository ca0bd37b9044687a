"""The logos beside the API."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(("name", "status"), [("openai", 200), ("svg", 200), ("unknown", 404)])
async def test_logos_are_for_everybody_and_a_key_is_refused(sandbox, session, name, status):
    url = sandbox.icon_url.format(name=name)
    async with session.get(url) as reply:
        assert (reply.status, await reply.read()) == (status, sandbox.icons.get(name, b"Not found: /unknown"))
    async with session.get(url, headers={"Authorization": "Bearer sk-or-v1-test"}) as reply:
        assert reply.status == 400
    assert ["Authorization" in request.headers for request in sandbox.received] == [False, True]
