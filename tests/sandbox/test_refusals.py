"""What the sandbox must not let pass."""

from __future__ import annotations

from typing import Any

import pytest

USER = {"role": "user", "content": "Hi"}
FUNCTION = {"type": "function", "function": {"name": "now"}}


def content(part: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [part]}]


@pytest.mark.parametrize("path", ["/models/user", "/key", "/presets", "/presets/support"])
async def test_no_key(ask, path):
    reply = await ask(path, headers={})
    assert (reply.status, reply.json) == (401, {"error": {"message": "No auth credentials found", "code": 401}})


@pytest.mark.parametrize("key", ["sk-proj-1", "sk-or-v1-invalid"])
async def test_wrong_key(ask, key):
    reply = await ask("/responses", {"model": "openai/gpt-4o", "input": "Hi"}, {"Authorization": f"Bearer {key}"})
    assert (reply.status, reply.error["message"]) == (401, "User not found.")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"temprature": 1}, "temprature"),
        ({"temperature": "warm"}, "temperature"),
        ({"provider": {"sorts": "price"}}, "provider.sorts"),
        ({"provider": {"sort": {"by": "price", "partitions": "none"}}}, "provider.sort.partitions"),
        ({"provider": {"sort": 5}}, "provider.sort"),
        ({"reasoning": {"effrot": "low"}}, "reasoning.effrot"),
        ({"reasoning": {"effort": "lots"}}, "reasoning.effort"),
        ({"messages": content({"type": "text", "txt": "Hi", "text": "Hi"})}, "messages[0].content[0].txt"),
        (
            {"messages": content({"type": "image_url", "image_url": {"url": "u", "detial": "low"}})},
            "messages[0].content[0].image_url.detial",
        ),
        ({"messages": [{"role": "tool", "content": "1"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant", "reasoning_content": "x"}]}, "messages[0].reasoning_content"),
        ({"messages": []}, "messages"),
        ({"tools": [{"type": "function", "function": {"name": "now", "schema": {}}}]}, "tools[0].function.schema"),
        ({"tools": [{"type": "openrouter:shell"}]}, "tools[0]"),
        ({"tools": [{"type": "openrouter:apply_patch"}]}, "tools[0]"),
        ({"max_output_tokens": 5}, "max_output_tokens"),
        ({"user": None}, "user"),
    ],
)
async def test_chat_body(chat, change, where):
    reply = await chat(**change)
    assert (reply.status, reply.error["code"]) == (400, 400)
    assert reply.error["message"].startswith(f"Invalid input at '{where}': ")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"temprature": 1}, "temprature"),
        ({"seed": 1}, "seed"),
        ({"stop": ["x"]}, "stop"),
        ({"logit_bias": {}}, "logit_bias"),
        ({"min_p": 0.1}, "min_p"),
        ({"top_a": 0.1}, "top_a"),
        ({"repetition_penalty": 1}, "repetition_penalty"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"messages": [USER]}, "messages"),
        ({"preset": "@preset/support"}, "preset"),
        ({"verbosity": "low"}, "verbosity"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"reasoning": {"exclude": True}}, "reasoning.exclude"),
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"tools": [{"type": "function", "name": "now"}]}, "tools[0].parameters"),
        ({"tools": [FUNCTION]}, "tools[0].name"),
        ({"input": content({"type": "input_image", "image_url": "u"})}, "input[0].content[0].detail"),
        ({"input": content({"type": "input_text", "text": "Hi", "txt": 1})}, "input[0].content[0].txt"),
        ({"input": content({"type": "text", "text": "Hi"})}, "input[0].content[0]"),
        ({"input": [{"type": "function_call_output", "output": "1"}]}, "input[0].call_id"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input[0].id"),
    ],
)
async def test_responses_body(respond, change, where):
    reply = await respond(**change)
    assert (reply.status, reply.error["code"]) == (400, 400)
    assert reply.error["message"].startswith(f"Invalid input at '{where}': ")


@pytest.mark.parametrize("missing", [{"id"}, {"status"}, {"id", "status"}])
async def test_assistant_item_in_array_form_needs_id_and_status(respond, missing):
    text = {"type": "output_text", "text": "Hello", "annotations": []}
    item = {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [text]}
    assert (await respond(input=[item])).status == 200
    partial = {key: value for key, value in item.items() if key not in missing}
    assert (await respond(input=[partial])).status == 400


async def test_a_failing_value_is_not_repeated_at_length(respond):
    reply = await respond(temperature="x" * 10_000)
    assert reply.status == 400
    assert len(reply.text) < 400


async def test_body_is_not_json(ask):
    reply = await ask("/responses", data=b"{")
    assert (reply.status, reply.error["message"]) == (400, "Invalid JSON in request body")
    assert (await ask("/responses", [1])).status == 400


@pytest.mark.parametrize("body", [{"input": ""}, {"input": []}, {"input": None}, {"input": [], "instructions": "x"}])
async def test_empty_input(respond, body):
    assert (await respond(**body)).status == 400


async def test_no_model(ask, respond):
    assert (await ask("/responses", {"input": "Hi"})).status == 400
    assert (await ask("/responses", {"input": "Hi", "models": []})).status == 400
    assert (await ask("/responses", {"input": "Hi", "models": ["openai/gpt-4o"]})).status == 200


@pytest.mark.parametrize(
    ("model", "status", "code", "fallback"),
    [
        ("openai/gpt-4p", 400, "model_not_found", "openai/gpt-4o"),
        ("openai.gpt-4o", 400, "model_not_found", "openai/gpt-4o"),
        ("gpt-4o", 400, "model_not_found", "openai/gpt-4o"),
        ("openai/gpt-4o:fast", 400, "model_not_found", "openai/gpt-4o"),
        ("openai/gpt-4o:preset/support", 400, "model_not_found", "openai/gpt-4o"),
        ("openai/gpt-4o:free:extended", 400, "model_not_found", "openai/gpt-4o:extended"),
        ("poolside/laguna-s-2.1", 400, "model_not_found", "poolside/laguna-s-2.1:free"),
        ("openai/gpt-4o:free", 404, "no_endpoints", "openai/gpt-4o"),
        ("openai/gpt-4o:nitro:free", 404, "no_endpoints", "openai/gpt-4o"),
        ("openai/text-embedding-3-small", 400, "wrong_endpoint", None),
    ],
)
async def test_model_names(respond, model, status, code, fallback):
    reply = await respond(model=model)
    availability = reply.error["availability"]
    assert (reply.status, reply.error["code"], availability["code"]) == (status, status, code)
    assert availability["retryable"] is False
    assert availability["docs_url"].startswith("https://")
    assert availability["requested_models"] == [model]
    assert fallback is None or fallback in availability["fallback_models"]


@pytest.mark.parametrize("model", ["openai/gpt-4o:batch", "openai/gpt-4.1:batch"])
async def test_batch_rows_cannot_be_called(chat, model):
    reply = await chat(model=model)
    assert reply.status == 404
    assert reply.error["message"].startswith("This model is only available through the Batch API.")


@pytest.mark.parametrize("slug", ["nobody", "old-tone", "launch-2025", "SUPPORT", "support:nitro"])
async def test_presets_that_are_not_there(chat, respond, slug):
    assert (await respond(model=f"openai/gpt-4o@preset/{slug}")).status == 404
    assert (await respond(model=f"@preset/{slug}")).status == 404
    assert (await chat(preset=f"@preset/{slug}")).status == 404


async def test_an_unknown_fallback_model_is_refused(respond):
    assert (await respond(models=["openai/gpt-4p"])).status == 400


async def test_tools_need_a_model_with_tools(chat, respond):
    reply = await chat(model="meta-llama/llama-3.2-1b-instruct", tools=[FUNCTION])
    assert (reply.status, reply.error["message"][:42]) == (404, "No endpoints found that support tool use. ")
    assert (await chat(tools=[FUNCTION])).status == 200
    assert (await chat(model="openrouter/fusion", tools=[FUNCTION])).status == 200
    flat = {"type": "function", "name": "now", "parameters": None}
    assert (await respond(model="deepseek/deepseek-r1:free", tools=[flat])).status == 404


async def test_inputs_and_outputs_need_a_model_for_them(chat):
    image = content({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}})
    assert (await chat(messages=image)).status == 200
    assert (await chat(messages=image, model="deepseek/deepseek-r1")).status == 404
    document = content({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}})
    assert (await chat(messages=document, model="deepseek/deepseek-r1")).status == 200
    assert (await chat(modalities=["text", "image"])).status == 404


@pytest.mark.parametrize("off", [{"effort": "none"}, {"enabled": False}])
async def test_mandatory_reasoning_cannot_be_switched_off(chat, respond, off):
    reply = await chat(model="openai/gpt-5", reasoning=off)
    assert (reply.status, "mandatory" in reply.error["message"]) == (400, True)
    assert (await respond(model="google/gemini-2.5-pro", reasoning=off)).status == 400
    assert (await respond(model="~google/gemini-pro-latest", reasoning=off)).status == 200
    assert (await respond(model="openai/gpt-5.2", reasoning=off)).status == 200


async def test_contradicting_reasoning(chat):
    assert (await chat(reasoning={"effort": "low", "max_tokens": 100})).status == 400
    assert (await chat(reasoning={"effort": "low"}, reasoning_effort="high")).status == 400
    assert (await chat(reasoning={"effort": "low"}, reasoning_effort="low")).status == 200


async def test_too_long_a_context(respond):
    reply = await respond(model="qwen/qwen-2.5-7b-instruct", input="word " * 40_000)
    assert reply.status == 400
    assert "maximum context length is 32768 tokens" in reply.error["message"]


async def test_tool_results_and_calls_belong_together(chat, respond):
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "noon"}
    assert (await chat(messages=[USER, asked, result])).status == 200
    for messages in ([USER, result], [USER, asked], [USER, asked, {**result, "tool_call_id": "c2"}]):
        reply = await chat(messages=messages)
        assert (reply.status, reply.error["message"]) == (400, "Provider returned error")
        assert "No tool" in reply.error["metadata"]["raw"]
    made = {"type": "function_call", "call_id": "c1", "id": "f1", "name": "now", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": "noon"}
    assert (await respond(input=[USER, made, output])).status == 200
    assert (await respond(input=[USER, made])).status == 400
    assert (await respond(input=[USER, output])).status == 400


@pytest.mark.parametrize(
    "change",
    [
        {"reasoning": {"enabled": True, "exclude": True}},
        {"verbosity": "low", "transforms": ["middle-out"], "usage": {"include": True}, "n": 1},
        {"provider": {"max_price": {"prompt": 1, "completion": "2"}, "sort": "exacto", "zdr": True}},
        {"tools": [{**FUNCTION, "eager_input_streaming": True}]},
        {"plugins": [{"id": "context-compression", "enabled": False}]},
        {
            "stop": "x",
            "seed": 1,
            "min_p": 0.1,
            "logit_bias": {"5": -1},
            "prediction": {"type": "content", "content": "x"},
        },
    ],
)
async def test_documented_keys_that_the_openapi_document_lacks_are_accepted(chat, change):
    assert (await chat(**change)).status == 200


async def test_zero_data_retention(ask):
    body = {"model": "deepseek/deepseek-r1", "messages": [USER], "provider": {"zdr": True}}
    refused = await ask("/chat/completions", body)
    assert (refused.status, refused.error["availability"]["code"]) == (404, "privacy_restricted")
    assert (await ask("/chat/completions", {**body, "model": "openai/gpt-4o"})).status == 200
