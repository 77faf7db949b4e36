"""Talks to Kennel's endpoint as the official `openai` client does. Usage: openai_client.py BASE_URL TOKEN

Fails with a traceback on the first thing that is not as that library expects it.
"""

import sys

import openai
from openai import OpenAI

base_url, token = sys.argv[1:]
client = OpenAI(base_url=base_url, api_key=token, max_retries=0, timeout=20)


def ask(text, model="agent/one", **more):
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], **more
    )


def expect(error, **request):
    try:
        ask(**request)
    except error as raised:
        return raised
    raise AssertionError(f"{request} raised no {error.__name__}")


models = sorted(model.id for model in client.models.list())
assert models == ["agent/one", "agent/two"], models
assert client.models.retrieve("agent/two").owned_by == "kennel"

whole = ask("hello")
assert whole.object == "chat.completion" and whole.model == "agent/one", whole
assert whole.choices[0].message.role == "assistant", whole
assert whole.choices[0].message.content == "hello", whole
assert whole.choices[0].finish_reason == "stop", whole
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
assert ask("by its bare name", model="two").choices[0].message.content == "by its bare name"

text = " ".join(str(n) for n in range(100))
chunks = list(ask(text, stream=True, stream_options={"include_usage": True}))
pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
assert "".join(pieces) == text, pieces
assert len([piece for piece in pieces if piece]) >= 3, pieces
assert len({chunk.id for chunk in chunks}) == 1
assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
assert chunks[-1].usage is not None and not chunks[-1].choices, chunks[-1]

# Without a session the conversation is the request's; with one the agent remembers it.
conversation = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": "first"},
    {"role": "user", "content": [{"type": "text", "text": "second"}]},
]
reply = client.chat.completions.create(model="agent/one", messages=conversation)
assert "second" in reply.choices[0].message.content, reply
fresh = [ask("!context").choices[0].message.content for _ in range(2)]
assert all(answer.startswith("messages=1 ") for answer in fresh), fresh
ask("remember", user="ada")
kept = ask("!context", user="ada").choices[0].message.content
assert kept.startswith("messages=3 "), kept
other = ask("!context", user="bob").choices[0].message.content
assert other.startswith("messages=1 "), other
header = {"x-kennel-session": "ada"}
kept = ask("!context", extra_headers=header).choices[0].message.content
assert kept.startswith("messages=5 "), kept

missing = expect(openai.NotFoundError, text="hello?", model="agent/nobody")
assert missing.code == "model_not_found" and "nobody" in missing.message, missing
wrong = expect(openai.BadRequestError, text="hello?", n=2)
assert "`n` must be 1" in wrong.message, wrong
expect(openai.InternalServerError, text="!fail 400")
try:
    list(ask("!cut half an answer", stream=True))
    raise AssertionError("a broken stream raised nothing")
except openai.APIError as raised:
    assert raised.message, raised

stranger = OpenAI(base_url=base_url, api_key="wrong", max_retries=0, timeout=20)
try:
    stranger.models.list()
    raise AssertionError("a wrong token was taken")
except openai.AuthenticationError as raised:
    assert raised.code == "invalid_api_key", raised
