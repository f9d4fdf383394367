"""The OpenAI SDK's chat completions."""

import os

import openai

from common import (
    HELLO, INLINE, LINKED, NEWEST, SCHEMA, Answer, ai, ask, breaks_off, cities, expect, fails, remembered, scenario, sunny,
)

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "strict": True}}]


def create(model, messages, **more):
    return ai.chat.completions.create(model=model, messages=messages, **more)


def offered(model):
    """OpenAI's newest models take tools over chat completions only where they are told not to think."""
    return {"tools": TOOLS, "reasoning_effort": "none"} if model == NEWEST else {"tools": TOOLS}


@scenario
def chat_plain(model):
    answer = create(model, ask("plain"))
    expect(answer.choices[0].message.content, HELLO)
    expect(answer.choices[0].finish_reason, "stop")
    expect(answer.object, "chat.completion")
    expect((answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens), (1112, 40, 1152))
    expect(answer.usage.prompt_tokens_details.cached_tokens, 1000)
    expect(answer.usage.completion_tokens_details.reasoning_tokens, 9)


@scenario
def chat_stream(model):
    with create(model, ask("plain"), stream=True, stream_options={"include_usage": True}) as stream:
        chunks = list(stream)
    expect("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), HELLO)
    expect(chunks[0].choices[0].delta.role, "assistant")
    expect([chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1], "stop")
    expect((chunks[-1].choices, chunks[-1].usage.prompt_tokens), ([], 1112))
    with create(model, ask("plain"), stream=True) as stream:
        assert all(chunk.usage is None and chunk.choices for chunk in stream)


def loop(model, tag, expected):
    messages = ask(tag)
    answer = create(model, messages, **offered(model))
    expect(answer.choices[0].finish_reason, "tool_calls")
    calls = answer.choices[0].message.tool_calls
    expect(cities(call.function.arguments for call in calls), expected)
    messages.append(answer.choices[0].message)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"sunny {i}"} for i, call in enumerate(calls)]
    expect(create(model, messages, **offered(model)).choices[0].message.content, sunny(len(expected)))


@scenario
def chat_tools(model):
    loop(model, "tools", ["Rome"])


@scenario
def chat_parallel_tools(model):
    loop(model, "parallel", ["Rome", "Oslo"])


@scenario
def chat_streamed_tools(model):
    with ai.chat.completions.stream(model=model, messages=ask("parallel"), **offered(model)) as stream:
        indices = [event.index for event in stream if event.type == "tool_calls.function.arguments.done"]
        answer = stream.get_final_completion()
    expect(indices, [0, 1])
    calls = answer.choices[0].message.tool_calls
    expect(cities(call.function.arguments for call in calls), ["Rome", "Oslo"])


@scenario
def chat_structured(model):
    answer = ai.chat.completions.parse(model=model, messages=ask("schema"), response_format=Answer)
    expect(answer.choices[0].message.parsed.answer, 42)


@scenario
def chat_vision(model):
    for url in (INLINE, LINKED):
        parts = [{"type": "text", "text": "#[vision]"}, {"type": "image_url", "image_url": {"url": url}}]
        answer = create(model, [{"role": "user", "content": parts}])
        expect(answer.choices[0].message.content, f"seen {url}")


@scenario
def chat_thoughts(model):
    messages = ask("think")
    said = create(model, messages, reasoning_effort="high").choices[0].message
    expect((said.content, said.reasoning_content), ("Seen.", "Let me see."))
    messages += [said.model_dump(exclude_none=True), {"role": "user", "content": "and now?"}]
    said = create(model, messages, reasoning_effort="high").choices[0].message
    expect(said.content, remembered(model, "chat"))


@scenario
def chat_stops(model):
    for tag, reason in (("refuse", "content_filter"), ("long", "length")):
        expect(create(model, ask(tag)).choices[0].finish_reason, reason)


@scenario
def chat_errors(model):
    def with_key(key, name=model):
        client = openai.OpenAI(api_key=key)
        return lambda: client.chat.completions.create(model=name, messages=ask("plain"))

    fails(openai.AuthenticationError, 401, with_key("nonsense"))
    fails(openai.NotFoundError, 404, with_key(ai.api_key, "nobody"))
    fails(openai.PermissionDeniedError, 403, with_key(os.environ["NARROW_KEY"], "claude"))
    poor = fails(openai.APIStatusError, 402, with_key(os.environ["POOR_KEY"]))
    expect((poor.code, poor.response.headers["x-should-retry"]), ("budget_exceeded", "false"))
    bad = fails(openai.BadRequestError, 400, lambda: create(model, ask("bad")))
    assert "does not like" in bad.message, bad.message
    assert bad.request_id
    if model == NEWEST:
        told = fails(openai.BadRequestError, 400, lambda: create(model, ask("tools"), tools=TOOLS))
        assert "/v1/responses" in told.message, told.message


@scenario
def chat_retried(model):
    raw = ai.chat.completions.with_raw_response.create(model=model, messages=ask(f"busy:chat:{model}"))
    expect(raw.retries_taken, 1)
    expect(raw.parse().choices[0].message.content, HELLO)


@scenario
def chat_left(model):
    stream = create(model, ask("slow"), stream=True)
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    stream.close()


def read_along(model, tag):
    for chunk in create(model, ask(tag), stream=True):
        yield chunk.choices[0].delta.content or ""


def whole(model, tag):
    with ai.chat.completions.stream(model=model, messages=ask(tag)) as stream:
        return stream.get_final_completion()


def breaks(model, tag):
    for error in breaks_off(openai.APIError, tag, read_along(model, tag), lambda: whole(model, tag)):
        expect((error.type, error.code), ("server_error", "upstream_error"))


@scenario
def chat_broken(model):
    breaks(model, "broken")


@scenario
def chat_cut(model):
    breaks(model, "cut")
