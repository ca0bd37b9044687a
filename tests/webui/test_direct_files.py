"""A chat's files on their way to a model that takes them itself, in the real Open WebUI."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest
from webui.conftest import BUILT, SandboxControl
from webui.test_conversations import TOOL, StoredChat
from webui_server import OpenWebUI

FUNCTION = "papers"
PDF = b"%PDF-1.4\n" + bytes(range(256)) + b"\n%%EOF"
READABLE_PDF = b"""%PDF-1.4
1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj
2 0 obj <</Type /Pages /Kids [3 0 R] /Count 1>> endobj
3 0 obj <</Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R /Resources <</Font <</F 5 0 R>>>>>> endobj
4 0 obj <</Length 34>> stream
BT /F 9 Tf 9 9 Td (Extracted.) Tj ET
endstream endobj
5 0 obj <</Type /Font /Subtype /Type1 /BaseFont /Helvetica>> endobj
trailer <</Root 1 0 R /Size 6>>
startxref
0
%%EOF
"""
TEXT = b"The secret word is marmalade."


@pytest.fixture(params=["responses", "chat_completions"])
def endpoint(request: pytest.FixtureRequest, webui: OpenWebUI, sandbox: SandboxControl) -> str:
    """The pipe with direct files, on one endpoint."""
    install(webui, sandbox, ENDPOINT=request.param)
    return str(request.param)


def install(webui: OpenWebUI, sandbox: SandboxControl, **valves: Any) -> None:
    webui.install_function(FUNCTION, "Papers", BUILT.read_text(encoding="utf-8"))
    webui.set_valves(
        FUNCTION,
        {
            "API_KEY": "sk-or-v1-test",
            "BASE_URL": sandbox.base_url,
            "DIRECT_FILES": "supported",
            "UPDATE_MODEL_METADATA": False,
            "COST_DISPLAY": "off",
            **valves,
        },
    )
    webui.models()
    sandbox.reset()


def row(webui: OpenWebUI, model: str, **capabilities: bool) -> str:
    """A workspace model on top of a model of the pipe, with these capabilities; returns its id."""
    model_id = f"direct-{uuid.uuid4().hex[:8]}"
    form = {
        "id": model_id,
        "base_model_id": f"{FUNCTION}.{model}",
        "name": model_id,
        "params": {},
        "meta": {"capabilities": {"file_context": False, **capabilities}, "builtinTools": {"files": False}},
        "access_grants": [],
        "is_active": True,
    }
    webui.request("POST", "/api/v1/models/create", form)
    webui.models()
    return model_id


def upload(webui: OpenWebUI, name: str, data: bytes, content_type: str) -> dict[str, Any]:
    """Upload a file as the web page does; returns the entry that it puts into a chat."""
    stored = webui.client.post(
        "/api/v1/files/?process=true&process_in_background=false",
        files={"file": (name, data, content_type)},
        timeout=60,
    ).json()
    return {
        "type": "file",
        "id": stored["id"],
        "url": stored["id"],
        "name": name,
        "content_type": content_type,
        "size": len(data),
        "status": "uploaded",
        "file": stored,
    }


def parts(request: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """The parts of the user's messages, with the number of the message."""
    messages = [m for m in request["body"].get("input") or request["body"]["messages"] if m.get("role") == "user"]
    return [(n, part) for n, m in enumerate(messages) for part in m["content"] if isinstance(part, dict)]


def file_data(request: dict[str, Any]) -> list[tuple[int, str, bytes]]:
    found = [(n, part.get("file", part)) for n, part in parts(request) if part["type"] in ("file", "input_file")]
    return [(n, file["filename"], base64.b64decode(file["file_data"].partition(",")[2])) for n, file in found]


def said(request: dict[str, Any]) -> str:
    return json.dumps(request["body"].get("input") or request["body"]["messages"])


def test_a_pdf_goes_to_the_model_and_stays(webui: OpenWebUI, sandbox: SandboxControl, endpoint: str) -> None:
    chat = StoredChat(webui, row(webui, "openai.gpt-4o"))
    chat.send("Hello!")
    chat.send("What is in it?", files=[upload(webui, "report.pdf", PDF, "application/pdf")])
    chat.send("And in short?")
    _, second, third = sandbox.chats()
    assert file_data(second) == [(1, "report.pdf", PDF)], "with the message that it came with"
    assert file_data(third) == file_data(second), "and in the same place later, as prompt caches want it"


def test_audio_and_video_go_to_a_model_that_takes_them(
    webui: OpenWebUI, sandbox: SandboxControl, endpoint: str
) -> None:
    files = [upload(webui, "clip.mp4", b"\0\0clip", "video/mp4"), upload(webui, "a.wav", b"RIFF\0", "audio/wav")]
    StoredChat(webui, row(webui, "google.gemini-2.5-flash")).send("Describe.", files=files)
    (request,) = sandbox.chats()
    by_type = {part["type"]: part for _, part in parts(request)}
    assert by_type["input_audio"]["input_audio"] == {"data": base64.b64encode(b"RIFF\0").decode(), "format": "wav"}
    video = by_type.get("input_video") or by_type["video_url"]["video_url"]
    assert (video.get("video_url") or video["url"]) == "data:video/mp4;base64," + base64.b64encode(b"\0\0clip").decode()


def test_what_the_model_does_not_take_arrives_as_text(webui: OpenWebUI, sandbox: SandboxControl, endpoint: str) -> None:
    page = {"type": "text", "name": "A page", "context": "full", "file": {"data": {"content": "Page text."}}}
    files = [upload(webui, "secret.txt", TEXT, "text/plain"), page]
    message = StoredChat(webui, row(webui, "openai.gpt-4o")).send("What is it?", files=files)
    (request,) = sandbox.chats()
    assert TEXT.decode() in said(request)
    assert "Page text." in said(request)
    assert not message.get("statusHistory")


def test_what_cannot_be_sent_is_told_in_one_line(webui: OpenWebUI, sandbox: SandboxControl) -> None:
    install(webui, sandbox)
    files = [
        upload(webui, "huge.pdf", b"%PDF" + bytes(25_000_001), "application/pdf"),
        {"type": "file", "id": str(uuid.uuid4()), "name": "gone.pdf"},
        {"type": "collection", "id": "handbook", "name": "Handbook"},
    ]
    message = StoredChat(webui, row(webui, "openai.gpt-4o")).send("What is in them?", files=files)
    assert message["content"], "the chat goes on"
    (line,) = [status["description"] for status in message["statusHistory"]]
    assert "huge.pdf, gone.pdf, Handbook" in line
    assert "25 MB" in line
    (request,) = sandbox.chats()
    assert len(said(request)) < 5_000
    assert "huge.pdf" in said(request), "the model is told as well, or it would make something up"


def test_a_tool_round_has_the_files_too_and_says_nothing_twice(webui: OpenWebUI, sandbox: SandboxControl) -> None:
    install(webui, sandbox)
    sandbox.rule(times=1, answer={"text": "", "tool_calls": [{"name": TOOL, "arguments": "{}", "id": "call_abc"}]})
    files = [upload(webui, "report.pdf", PDF, "application/pdf"), {"type": "collection", "id": "h", "name": "Handbook"}]
    message = StoredChat(webui, row(webui, "openai.gpt-5")).send("What time is it in there?", files=files)
    first, second = sandbox.chats()
    assert file_data(first) == file_data(second) == [(0, "report.pdf", PDF)]
    assert len([status for status in message["statusHistory"] if "Handbook" in status["description"]]) == 1


def test_another_users_file_is_refused(webui: OpenWebUI, sandbox: SandboxControl) -> None:
    install(webui, sandbox)
    private = upload(webui, "private.pdf", PDF, "application/pdf")
    base = f"{FUNCTION}.openai.gpt-4.1"
    everyone = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
    direct = {"capabilities": {"file_context": False}}
    form = {"id": base, "name": "Shared", "params": {}, "meta": direct, "access_grants": everyone}
    webui.request("POST", "/api/v1/models/create", form)
    webui.models()
    ben = {"name": "Ben", "email": f"{uuid.uuid4().hex}@example.com", "password": "secret-Secret-1", "role": "user"}
    token = webui.request("POST", "/api/v1/auths/add", ben)["token"]
    admin = webui.client.headers["Authorization"]
    try:
        webui.client.headers["Authorization"] = f"Bearer {token}"
        own = upload(webui, "own.pdf", PDF + b"own", "application/pdf")
        foreign = {"type": "file", "id": private["id"], "name": "x.pdf"}
        answer = webui.ask(base, "What is in them?", files=[foreign, own])
    finally:
        webui.client.headers["Authorization"] = admin
        webui.request("POST", "/api/v1/models/model/delete", {"id": base})
    assert answer["choices"][0]["message"]["content"]
    (request,) = sandbox.chats()
    assert file_data(request) == [(0, "own.pdf", PDF + b"own")]
    assert said(request).count("Not all of this file is here") == 1
    assert "private.pdf" not in said(request)


def test_a_model_without_file_input_gets_what_open_webui_makes_of_it(webui: OpenWebUI, sandbox: SandboxControl) -> None:
    install(webui, sandbox)
    model = row(webui, "deepseek.deepseek-chat", file_context=True)
    file = upload(webui, "secret.txt", TEXT, "text/plain") | {"context": "full"}
    StoredChat(webui, model).send("What is it?", files=[file])
    (request,) = sandbox.chats()
    assert said(request).count(TEXT.decode()) == 1
    assert "<source " in said(request), "by its retrieval"


def test_what_retrieval_had_is_not_sent_twice(webui: OpenWebUI, sandbox: SandboxControl) -> None:
    install(webui, sandbox)
    text = upload(webui, "secret.txt", TEXT, "text/plain") | {"context": "full"}
    clip = upload(webui, "clip.mp4", b"\0\0clip", "video/mp4") | {"context": "full"}
    report = upload(webui, "report.pdf", READABLE_PDF, "application/pdf") | {"context": "full"}
    report.pop("file")
    StoredChat(webui, row(webui, "google.gemini-2.5-flash", file_context=True)).send(
        "Describe.", files=[text, clip, report]
    )
    (request,) = sandbox.chats()
    assert said(request).count(TEXT.decode()) == 1
    assert (said(request).count("Extracted."), file_data(request)) == (1, [])
    assert "data:video/mp4;base64," in said(request), "what it could not read goes as it is"


def test_switched_off_nothing_goes_by_itself(webui: OpenWebUI, sandbox: SandboxControl) -> None:
    install(webui, sandbox, DIRECT_FILES="off")
    file = upload(webui, "report.pdf", PDF, "application/pdf")
    StoredChat(webui, row(webui, "openai.gpt-4o")).send("What is in it?", files=[file])
    assert file_data(sandbox.chats()[0]) == []
