"""What an accepted request gets, on both endpoints."""

from __future__ import annotations

import json

import pytest

from openrouter_sandbox import Answer, Rule, ToolCall

ADD = ToolCall("add", '{"a": 1, "b": 2}', id="call_1")


def told(reply):
    """The text of a JSON answer of either endpoint."""
    body = reply.json
    if "choices" in body:
        return body["choices"][0]["message"]["content"]
    return next(item for item in body["output"] if item["type"] == "message")["content"][0]["text"]


def streamed(events):
    """The text of a stream of either endpoint."""
    chat = [choice["delta"].get("content") or "" for event in events[:-1] for choice in event.get("choices", [])]
    flat = [event["delta"] for event in events[:-1] if event.get("type") == "response.output_text.delta"]
    return "".join(chat + flat)


async def test_the_text_says_what_arrived(respond):
    reply = await respond(
        model="openai/gpt-4o:nitro@preset/email-copywriter",
        temperature=0.2,
        max_output_tokens=500,
        instructions="Be nice.",
        session_id="secret-looking",
        tools=[{"type": "function", "name": "now", "parameters": None}],
    )
    assert told(reply) == (
        'Hello from the OpenRouter sandbox. You wrote: "Hi there" · endpoint: /responses · model: openai/gpt-4o:nitro'
        " · preset: email-copywriter (applied) · parameters: temperature=0.2, max_output_tokens=500 · tools: now"
        ' · system: "You write short, friendly e-mails that come to the point. Be…"'
    )


async def test_attachments_and_the_last_user_message_are_told(chat):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    text = {"type": "text", "text": "What is this?"}
    reply = await chat(
        messages=[
            {"role": "system", "content": "Look well."},
            {"role": "user", "content": "First"},
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": [text, image, image]},
        ]
    )
    assert 'You wrote: "What is this?" · attachments: 2 image · endpoint: /chat/completions' in told(reply)
    assert 'system: "Look well."' in told(reply)


@pytest.mark.parametrize("stream", [True, False])
async def test_presets_in_all_their_forms(chat, respond, stream):
    for send, body in (
        (chat, {"model": "openai/gpt-4o@preset/email-copywriter"}),
        (chat, {"model": "@preset/email-copywriter"}),
        (chat, {"preset": "@preset/email-copywriter"}),
        (respond, {"model": "openai/gpt-4o@preset/email-copywriter"}),
        (respond, {"model": "@preset/email-copywriter"}),
    ):
        reply = await send(**body, stream=stream)
        text = streamed(reply.events) if stream else told(reply)
        assert "model: openai/gpt-4o · preset: email-copywriter (applied)" in text
        assert "from the preset: " in text
        assert "temperature=0.7" in text


async def test_a_bare_slug_in_the_preset_field_does_nothing(chat):
    text = told(await chat(preset="email-copywriter"))
    assert "(not applied" in text
    assert "system" not in text


async def test_a_request_overrides_its_preset(chat):
    assert "temperature=0.7" not in told(await chat(model="openai/gpt-4o@preset/email-copywriter", temperature=1))
    assert "model: openai/gpt-5-mini" in told(await chat(model="@preset/support"))
    assert "preset: Team-Notes_v2 (applied)" in told(await chat(model="x-ai/grok-4@preset/Team-Notes_v2"))


async def test_the_same_request_gets_the_same_text(chat, respond):
    for send in (chat, respond):
        assert told(await send()) == told(await send()) == streamed((await send(stream=True)).events)


@pytest.mark.parametrize(
    ("model", "canonical", "provider"),
    [
        ("anthropic/claude-sonnet-4.5", "anthropic/claude-4.5-sonnet-20250929", "Anthropic"),
        ("~openai/gpt-latest", "openai/gpt-5.6-20260922", "OpenAI"),
        ("openrouter/auto", "openai/gpt-4o-mini-2024-07-18", "OpenAI"),
        ("z-ai/glm-4.6:online:exacto", "z-ai/glm-4.6", "Z.AI"),
        ("deepseek/deepseek-r1:nitro:free", "deepseek/deepseek-r1", "DeepSeek"),
    ],
)
async def test_who_answers(chat, respond, model, canonical, provider):
    reply = await chat(model=model)
    assert (reply.json["model"], reply.json["provider"]) == (canonical, provider)
    assert (await respond(model=model)).json["model"] == canonical


async def test_models_are_tried_in_order(chat):
    reply = await chat(model="openai/gpt-4o:free", models=["openai/gpt-4.1", "openai/o3"])
    assert reply.json["model"] == "openai/gpt-4.1-2025-04-14"


async def test_usage_is_counted_and_priced_by_the_row(chat, respond):
    usage = (await chat(model="anthropic/claude-haiku-4.5")).json["usage"]
    expected = usage["prompt_tokens"] * 1e-6 + usage["completion_tokens"] * 5e-6
    assert usage["cost"] == pytest.approx(expected)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 10
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert (await chat(model="deepseek/deepseek-r1:free")).json["usage"]["cost"] == 0
    usage = (await respond(model="anthropic/claude-haiku-4.5")).json["usage"]
    assert usage["cost"] == pytest.approx(usage["input_tokens"] * 1e-6 + usage["output_tokens"] * 5e-6)


async def test_long_prompts_cost_more_where_the_row_says_so(chat):
    prompt = [{"role": "user", "content": "word " * 200_000}]
    usage = (await chat(model="anthropic/claude-sonnet-4.5", messages=prompt)).json["usage"]
    assert usage["cost_details"]["upstream_inference_prompt_cost"] == pytest.approx(usage["prompt_tokens"] * 6e-6)


async def test_chat_stream(chat):
    reply = await chat(stream=True)
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert reply.text.startswith(": OPENROUTER PROCESSING\n\n")
    assert reply.text.endswith("data: [DONE]\n\n")
    *chunks, done = reply.events
    assert done == "[DONE]"
    assert {chunk["id"] for chunk in chunks} == {reply.headers["X-Generation-Id"]}
    assert chunks[0]["id"].startswith("gen-")
    deltas = [chunk["choices"][0] for chunk in chunks[:-1]]
    assert [choice["finish_reason"] for choice in deltas] == [None] * (len(deltas) - 1) + ["stop"]
    assert deltas[-1]["native_finish_reason"] == "completed"
    assert len(deltas) > 5
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["cost"] > 0


@pytest.mark.parametrize(
    ("form", "reasons"), [("no_choices", []), ("empty_delta", [None]), ("repeat_finish", ["stop"])]
)
async def test_the_three_forms_of_the_usage_chunk(chat, sandbox, form, reasons):
    sandbox.rules.append(Rule(usage_form=form))
    usage = (await chat(stream=True)).events[-2]
    assert usage["usage"]["completion_tokens"] > 0
    assert [choice["finish_reason"] for choice in usage["choices"]] == reasons


async def test_responses_stream(respond):
    reply = await respond(stream=True)
    assert "event:" not in reply.text
    *events, done = reply.events
    assert done == "[DONE]"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"] for event in events]
    deltas = kinds.count("response.output_text.delta")
    assert deltas > 3
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * deltas,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    result = events[-1]["response"]
    assert result["output"][0]["content"][0]["text"] == streamed(reply.events)
    assert (result["status"], result["output_text"], result["id"]) == (
        "completed",
        "",
        reply.headers["X-Generation-Id"],
    )


async def test_metadata_comes_on_request_only(chat, respond):
    wanted = {"X-OpenRouter-Metadata": "enabled"}
    for stream in (True, False):
        for send in (chat, respond):
            assert "openrouter_metadata" not in (await send(stream=stream)).text
    chunk = (await chat(stream=True, headers=wanted)).events[-2]
    result = (await respond(stream=True, headers=wanted)).events[-2]["response"]
    for body in (chunk, result, (await chat(headers=wanted)).json, (await respond(headers=wanted)).json):
        assert body["openrouter_metadata"]["endpoints"]["available"][0]["provider"] == "OpenAI"


@pytest.mark.parametrize(
    ("model", "reasoning", "expected"),
    [
        ("openai/gpt-4o", {"effort": "high"}, False),
        ("openai/gpt-5", None, True),
        ("openai/gpt-5.2", None, False),
        ("openai/gpt-5.2", {"effort": "low"}, True),
        ("openai/gpt-5.6", None, True),
        ("openai/gpt-5.6", {"effort": "none"}, False),
        ("anthropic/claude-sonnet-4.5", {"enabled": True}, True),
        ("anthropic/claude-sonnet-4.5", {"max_tokens": 2000}, True),
        ("tngtech/deepseek-r1t2-chimera:free", None, False),
    ],
)
async def test_who_reasons(chat, respond, model, reasoning, expected):
    body = {"model": model} | ({"reasoning": reasoning} if reasoning else {})
    reply = (await chat(**body)).json
    assert bool(reply["choices"][0]["message"]["reasoning"]) is expected
    assert (reply["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0) is expected
    assert (await respond(**body)).json["output"][0]["type"] == ("reasoning" if expected else "message")


async def test_excluded_reasoning_is_paid_for_and_not_shown(chat):
    for stream in (True, False):
        reply = await chat(model="z-ai/glm-4.6", reasoning={"exclude": True}, stream=stream)
        assert '"reasoning_details"' not in reply.text
        usage = reply.events[-2]["usage"] if stream else reply.json["usage"]
        assert usage["completion_tokens_details"]["reasoning_tokens"] > 0


async def test_chat_reasoning_comes_first_and_its_signature_late(chat):
    reply = await chat(model="anthropic/claude-opus-5", stream=True)
    deltas = [event["choices"][0]["delta"] for event in reply.events[:-2]]
    texts = [number for number, delta in enumerate(deltas) if delta["content"]]
    thoughts = [number for number, delta in enumerate(deltas) if delta.get("reasoning")]
    signed = [n for n, delta in enumerate(deltas) for item in delta.get("reasoning_details", ()) if "signature" in item]
    assert len(thoughts) > 1
    assert max(thoughts) < min(texts) < signed[0] < max(texts)
    details = [item for number in thoughts for item in deltas[number]["reasoning_details"]]
    assert "".join(item["text"] for item in details) == "".join(deltas[number]["reasoning"] for number in thoughts)
    assert {(item["index"], item["format"]) for item in details} == {(0, "anthropic-claude-v1")}


@pytest.mark.parametrize(
    ("model", "delta", "done"),
    [
        ("openai/gpt-5", "response.reasoning_summary_text.delta", "response.reasoning_summary_part.done"),
        ("openai/gpt-oss-120b", "response.reasoning_text.delta", "response.reasoning_text.done"),
    ],
)
async def test_responses_reasoning_ends_after_the_message(respond, model, delta, done):
    reply = await respond(model=model, stream=True)
    *events, _ = reply.events
    kinds = [event["type"] for event in events]
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert kinds.index(delta) < kinds.index("response.output_text.delta") < kinds.index(done)
    assert [item["type"] for item in items] == ["message", "reasoning"]
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "message"]
    assert output[0]["id"] != items[1]["id"]
    assert "encrypted_content" not in reply.text


async def test_encrypted_reasoning_where_include_asks(respond):
    reply = await respond(model="openai/gpt-5", include=["reasoning.encrypted_content"], stream=True)
    assert reply.events[-2]["response"]["output"][0]["encrypted_content"]
    item = reply.events[-2]["response"]["output"][0]
    again = await respond(model="openai/gpt-5", input=[item, {"role": "user", "content": "And?"}])
    assert again.status == 200


async def test_the_token_limit_cuts(chat, respond):
    assert len(told(await chat(max_tokens=5))) == 20
    for reply in (await chat(max_completion_tokens=5, stream=True), await chat(max_tokens=5, stream=True)):
        assert len(streamed(reply.events)) == 20
        assert reply.events[-3]["choices"][0]["finish_reason"] == "length"
    reply = await respond(max_output_tokens=5, stream=True)
    last = reply.events[-2]
    assert (last["type"], last["response"]["status"]) == ("response.incomplete", "incomplete")
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["completed_at"] is None


async def test_json_answers(chat, respond):
    shape = {"type": "json_schema", "name": "x", "schema": {"type": "object"}}
    for reply in (await chat(response_format={"type": "json_object"}), await respond(text={"format": shape})):
        assert json.loads(told(reply))["you_wrote"] == "Hi there"


async def test_an_answer_of_many_deltas(chat, respond, sandbox):
    sandbox.rules.append(Rule(answer=Answer(deltas=2000)))
    expected = "".join(f"word{number:04d} " for number in range(2000))
    for send in (chat, respond):
        reply = await send(stream=True)
        assert streamed(reply.events) == expected
        assert reply.text.count("word") >= 2000
        assert ": OPENROUTER PROCESSING" in reply.text[10_000:]


async def test_a_text_is_cut_into_the_asked_number_of_deltas(respond, sandbox):
    sandbox.rules.append(Rule(answer=Answer(text="grüße \U0001f600 " * 10, deltas=7)))
    events = (await respond(stream=True)).events
    assert streamed(events) == "grüße \U0001f600 " * 10
    assert [event.get("type") for event in events[:-1]].count("response.output_text.delta") == 7


async def test_tool_calls(chat, respond, sandbox):
    sandbox.rules.append(Rule(answer=Answer(tool_calls=(ADD, ToolCall("now")))))
    choice = (await chat()).json["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["add", "now"]
    arguments = {0: "", 1: ""}
    for event in (await chat(stream=True)).events[:-2]:
        for call in event["choices"][0]["delta"].get("tool_calls", []):
            arguments[call["index"]] += call["function"]["arguments"]
    assert arguments == {0: ADD.arguments, 1: "{}"}
    items = (await respond()).json["output"]
    assert [(item["type"], item["name"]) for item in items] == [("function_call", "add"), ("function_call", "now")]
    events = (await respond(stream=True)).events[:-1]
    done = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert [event["arguments"] for event in done] == [ADD.arguments, "{}"]
    assert [event["output_index"] for event in done] == [0, 1]
    results = [{"type": "function_call_output", "call_id": item["call_id"], "output": "3"} for item in items]
    assert (await respond(input=[{"role": "user", "content": "Add"}, *items, *results])).status == 200


async def test_citations_and_pictures(chat, respond, sandbox):
    note = {"url": "https://a.example", "title": "A", "content": "…", "start_index": 0, "end_index": 3}
    sandbox.rules.append(Rule(answer=Answer(text="See", annotations=(note,), images=("data:image/png;base64,AAAA",))))
    message = (await chat()).json["choices"][0]["message"]
    assert message["annotations"] == [{"type": "url_citation", "url_citation": note}]
    assert message["images"][0]["image_url"]["url"] == "data:image/png;base64,AAAA"
    deltas = [event["choices"][0]["delta"] for event in (await chat(stream=True)).events[:-2]]
    assert [delta["images"] for delta in deltas if "images" in delta] == [message["images"]]
    text, picture = (await respond()).json["output"]
    assert text["content"][0]["annotations"][0]["url"] == "https://a.example"
    assert (picture["type"], picture["result"]) == ("image_generation_call", "AAAA")
    kinds = [event["type"] for event in (await respond(stream=True)).events[:-1]]
    assert "response.output_text.annotation.added" in kinds


SEARCH = {
    "type": "openrouter:web_search",
    "action": {"type": "search", "query": "weather", "sources": [{"type": "url", "url": "https://a.example"}]},
}


@pytest.mark.parametrize("kind", ["openrouter:web_search", "web_search_call"])
async def test_a_server_tool_at_work(respond, sandbox, kind):
    sandbox.rules.append(Rule(answer=Answer(text="Sunny", server_tools=({**SEARCH, "type": kind},))))
    item, message = (await respond()).json["output"]
    assert (item["type"], item["status"], item["action"]) == (kind, "completed", SEARCH["action"])
    assert message["content"][0]["text"] == "Sunny"
    events = (await respond(stream=True)).events[:-1]
    about = [event for event in events if event.get("output_index") == 0]
    assert (about[0]["type"], about[0]["item"]["status"]) == ("response.output_item.added", "in_progress")
    assert "action" not in about[0]["item"]
    assert (about[-1]["type"], about[-1]["item"]["action"]) == ("response.output_item.done", SEARCH["action"])
    assert ("response.web_search_call.searching" in [event["type"] for event in about]) == (kind == "web_search_call")
    assert [item["type"] for item in events[-1]["response"]["output"]] == [kind, "message"]
    text = next(event for event in events if event["type"] == "response.output_text.delta")
    assert text["output_index"] == 1
    assert events.index(text) > events.index(about[-1])


async def test_chat_does_not_show_server_tools(chat, sandbox):
    sandbox.rules.append(Rule(answer=Answer(text="Sunny", server_tools=(SEARCH,))))
    reply = await chat(stream=True)
    assert streamed(reply.events) == "Sunny"
    assert "web_search" not in str(reply.events)


async def test_openais_blob_has_the_index_of_the_summary_and_an_id(chat):
    details = (await chat(model="openai/gpt-5")).json["choices"][0]["message"]["reasoning_details"]
    assert [(detail["type"], detail["index"]) for detail in details] == [
        ("reasoning.summary", 0),
        ("reasoning.encrypted", 0),
    ]
    assert details[1]["id"]


async def test_a_picture_is_drawn_where_asked(chat):
    reply = await chat(model="google/gemini-2.5-flash-image", modalities=["image", "text"])
    assert reply.json["choices"][0]["message"]["images"][0]["image_url"]["url"].startswith("data:image/png;base64,")


async def test_an_error_in_the_middle(chat, respond, sandbox):
    error = {"code": 502, "message": "Provider disconnected"}
    sandbox.rules.append(Rule(answer=Answer(text="So far so", error=error)))
    reply = await chat(stream=True)
    assert streamed(reply.events) == "So far so"
    assert reply.events[-2]["error"] == error
    assert reply.events[-2]["choices"][0]["finish_reason"] == "error"
    failed = (await respond(stream=True)).events[-2]
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "server_error", "message": "Provider disconnected"}
    whole = await chat()
    assert (whole.status, whole.json) == (200, {"error": error})
