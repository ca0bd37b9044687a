"""The endpoints beside inference, and the packaged catalog."""

from __future__ import annotations

import aiohttp
import pytest

from openrouter_sandbox import Sandbox


def ids(reply):
    return [row["id"] for row in reply.json["data"]]


async def test_models_is_public_and_lists_what_answers_with_text(ask):
    reply = await ask("/models", headers={})
    assert reply.status == 200
    assert "openai/gpt-4o" in ids(reply)
    assert "openai/text-embedding-3-small" not in ids(reply)
    assert "openai/gpt-image-1" not in ids(reply)
    assert reply.json["total_count"] == len(ids(reply))
    assert reply.json["links"] == {"next": None}


async def test_other_output_modalities_are_asked_for(ask):
    everything = ids(await ask("/models?output_modalities=all"))
    assert {"openai/text-embedding-3-small", "openai/gpt-image-1", "openai/gpt-4o"} <= set(everything)
    assert ids(await ask("/models?output_modalities=embeddings")) == ["openai/text-embedding-3-small"]


async def test_models_pages(ask):
    whole = ids(await ask("/models/user"))
    first = await ask("/models/user?limit=30")
    rest = await ask(first.json["links"]["next"].removeprefix("/api/v1"))
    last = await ask("/models/user?offset=60&limit=1000")
    assert ids(first) + ids(rest) + ids(last) == whole
    assert last.json["links"]["next"] is None
    assert "output_modalities=all" in (await ask("/models?limit=1&output_modalities=all")).json["links"]["next"]
    assert (await ask("/models/user?limit=1001")).status == 400
    assert (await ask("/models/user?offset=-1")).status == 400


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("openai/gpt-4o-2024-11-20", "openai/gpt-4o-2024-11-20"),
        ("openai/gpt-4o:nitro", "openai/gpt-4o"),
        ("deepseek/deepseek-r1:nitro:free", "deepseek/deepseek-r1:free"),
        ("anthropic/claude-4.5-sonnet-20250929", "anthropic/claude-sonnet-4.5"),
        ("~openai/gpt-latest", "~openai/gpt-latest"),
    ],
)
async def test_one_model(ask, asked, found):
    assert (await ask(f"/model/{asked}", headers={})).json["data"]["id"] == found


async def test_one_model_that_is_not_there(ask):
    assert (await ask("/model/openai/gpt-4o:free")).status == 404


async def test_key(ask):
    data = (await ask("/key")).json["data"]
    assert data["label"] == "sk-or-v1-tes...est"
    assert {"limit", "limit_remaining", "usage", "usage_daily", "is_free_tier", "is_management_key"} <= set(data)


async def test_presets_come_in_pages(ask, sandbox):
    sandbox.presets[:] = [{**sandbox.presets[0], "slug": f"p{number}"} for number in range(120)]
    assert len((await ask("/presets")).json["data"]) == 50
    first, second = await ask("/presets?limit=100"), await ask("/presets?offset=100&limit=100")
    assert [row["slug"] for row in first.json["data"] + second.json["data"]] == [f"p{n}" for n in range(120)]
    assert second.json["total_count"] == 120
    assert "designated_version" not in first.json["data"][0]
    assert (await ask("/presets?limit=101")).status == 400


async def test_one_preset(ask):
    data = (await ask("/presets/email-copywriter")).json["data"]
    assert data["name"] == "Email Copywriter"
    assert data["designated_version"]["config"] == {"model": "openai/gpt-4o", "temperature": 0.7}
    assert data["designated_version"]["system_prompt"]
    assert (await ask("/presets/old-tone")).json["data"]["status"] == "disabled"
    assert (await ask("/presets/nobody")).status == 404


async def test_unknown_paths_and_methods(ask):
    assert (await ask("/credits")).error == {"message": "Not Found", "code": 404}
    assert (await ask("/models", {})).status == 404


async def test_the_packaged_rows_cover_what_the_real_catalog_holds(sandbox):
    rows = {row["id"]: row for row in sandbox.catalog}
    tags = {model_id.partition(":")[2] for model_id in rows}
    assert tags == {"", "free", "thinking", "extended", "beta", "batch"}
    assert len(rows) == len(sandbox.catalog) >= 60
    assert [model_id for model_id in rows if model_id.endswith(":free") and model_id[:-5] not in rows]
    assert rows["openrouter/auto"]["pricing"] == {"prompt": "-1", "completion": "-1"}
    assert rows["openrouter/auto"]["top_provider"]["context_length"] is None
    assert rows["~anthropic/claude-sonnet-latest"]["alias_target"]["slug"] in rows
    assert rows["deepseek/deepseek-r1:free"]["name"] == "DeepSeek: R1 (free)"
    assert any(row["context_length"] is None for row in rows.values())
    assert any(row["supported_parameters"] == [] for row in rows.values())
    assert any(row["expiration_date"] for row in rows.values())
    assert any(not row["pricing"] for row in rows.values())
    assert any("overrides" in row["pricing"] for row in rows.values())
    every_price = [price for row in rows.values() for key, price in row["pricing"].items() if key != "overrides"]
    assert all(isinstance(price, str) for price in every_price)


async def test_a_catalog_of_ones_own(session):
    async with Sandbox(catalog=[{"id": "a/b"}], presets=[]) as sandbox:
        key = {"Authorization": "Bearer sk-or-1"}
        async with session.get(sandbox.base_url + "/models/user", headers=key) as reply:
            assert (await reply.json())["data"] == [{"id": "a/b"}]
        async with session.post(
            sandbox.base_url + "/responses", headers=key, json={"model": "a/b", "input": "x"}
        ) as reply:
            assert (await reply.json())["model"] == "a/b"


async def test_what_arrived_is_kept(ask, sandbox, session):
    await ask("/presets?limit=3")
    await ask("/responses", {"model": "nope"})
    first, second = sandbox.received
    assert (first.method, first.path, first.query["limit"], first.body) == ("GET", "/api/v1/presets", "3", None)
    assert (second.method, second.path, second.body) == ("POST", "/api/v1/responses", {"model": "nope"})
    assert second.headers["authorization"] == "Bearer sk-or-v1-test"
    assert sandbox.connections == 1
    async with aiohttp.ClientSession() as other, other.get(sandbox.base_url + "/models"):
        assert sandbox.connections == 2


async def test_zdr_filters_the_public_list_only(ask):
    everything, kept = ids(await ask("/models")), ids(await ask("/models?zdr=true"))
    assert "deepseek/deepseek-r1" in everything
    assert "deepseek/deepseek-r1" not in kept
    assert "openai/gpt-4o" in kept
    assert ids(await ask("/models/user?zdr=true")) == everything
