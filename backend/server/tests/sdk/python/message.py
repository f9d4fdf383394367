"""The Anthropic SDK's messages."""

import os

import anthropic

from common import (
    HELLO, INLINE, LINKED, NEWEST, SCHEMA, Answer, ask, breaks_off, claude, expect, fails, remembered, scenario, sunny,
)

TOOLS = [{"name": "weather", "input_schema": SCHEMA, "strict": True}]
THINKING = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}


def create(model, messages, **more):
    return claude.messages.create(model=model, max_tokens=2000, messages=messages, **more)


def streamed(model, messages, **more):
    return claude.messages.stream(model=model, max_tokens=2000, messages=messages, **more)


def said(answer):
    """The newest models think unasked, and what they thought stands before what they say."""
    return "".join(block.text for block in answer.content if block.type == "text")


@scenario
def message_plain(model):
    answer = create(model, ask("plain"))
    expect((said(answer), answer.stop_reason, answer.type), (HELLO, "end_turn", "message"))
    usage = answer.usage
    # Chat completions need not say what is written to the cache.
    written = {"gpt": 0, "claude": 100, NEWEST: 100}[model]
    expect(usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens, 1112)
    expect((usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.output_tokens), (1000, written, 40))
    expect(usage.output_tokens_details.thinking_tokens, 9)


@scenario
def message_stream(model):
    with streamed(model, ask("plain")) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    expect((text, said(answer), answer.stop_reason, answer.usage.output_tokens), (HELLO, HELLO, "end_turn", 40))
    assert answer.usage.input_tokens > 0


def calls_of(answer):
    return [block for block in answer.content if block.type == "tool_use"]


def loop(model, tag, expected):
    messages = ask(tag)
    answer = create(model, messages, tools=TOOLS)
    expect(answer.stop_reason, "tool_use")
    calls = calls_of(answer)
    expect([call.input["city"] for call in calls], expected)
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"sunny {i}"} for i, call in enumerate(calls)]
    messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    expect(said(create(model, messages, tools=TOOLS)), sunny(len(expected)))


@scenario
def message_tools(model):
    loop(model, "tools", ["Rome"])


@scenario
def message_parallel_tools(model):
    loop(model, "parallel", ["Rome", "Oslo"])


@scenario
def message_streamed_tools(model):
    with streamed(model, ask("parallel"), tools=TOOLS) as stream:
        answer = stream.get_final_message()
    expect([call.input["city"] for call in calls_of(answer)], ["Rome", "Oslo"])


@scenario
def message_structured(model):
    answer = claude.messages.parse(model=model, max_tokens=2000, messages=ask("schema"), output_format=Answer)
    expect(answer.parsed_output.answer, 42)


@scenario
def message_vision(model):
    inline = {"type": "base64", "media_type": "image/png", "data": INLINE.split(",")[1]}
    for source, url in ((inline, INLINE), ({"type": "url", "url": LINKED}, LINKED)):
        parts = [{"type": "text", "text": "#[vision]"}, {"type": "image", "source": source}]
        expect(said(create(model, [{"role": "user", "content": parts}])), f"seen {url}")


@scenario
def message_thoughts(model):
    messages = ask("think")
    with streamed(model, messages, **THINKING) as stream:
        answer = stream.get_final_message()
    expect([block.type for block in answer.content], ["thinking", "text"])
    # OpenAI shows a summary to verified accounts only, and refuses others over the wish: the gateway does not ask for any.
    expect(answer.content[0].thinking, "" if model == NEWEST else "Let me see.")
    messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": "and now?"}]
    expect(said(create(model, messages, **THINKING)), remembered(model, "message"))


@scenario
def message_stops(model):
    for tag, reason in (("refuse", "refusal"), ("long", "max_tokens")):
        expect(create(model, ask(tag)).stop_reason, reason)


@scenario
def message_errors(model):
    def with_key(key, name=model):
        client = anthropic.Anthropic(api_key=key)
        return lambda: client.messages.create(model=name, max_tokens=20, messages=ask("plain"))

    fails(anthropic.AuthenticationError, 401, with_key("nonsense"))
    fails(anthropic.NotFoundError, 404, with_key(claude.api_key, "nobody"))
    fails(anthropic.PermissionDeniedError, 403, with_key(os.environ["NARROW_KEY"], "claude"))
    poor = fails(anthropic.APIStatusError, 402, with_key(os.environ["POOR_KEY"]))
    expect(poor.response.headers["x-should-retry"], "false")
    bad = fails(anthropic.BadRequestError, 400, lambda: create(model, ask("bad")))
    expect(bad.body["error"]["type"], "invalid_request_error")
    assert "does not like" in bad.message, bad.message
    assert bad.request_id


@scenario
def message_retried(model):
    asked = ask(f"busy:message:{model}")
    raw = claude.messages.with_raw_response.create(model=model, max_tokens=20, messages=asked)
    expect(raw.retries_taken, 1)
    expect(said(raw.parse()), HELLO)


@scenario
def message_left(model):
    stream = create(model, ask("slow"), stream=True)
    for event in stream:
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            break
    stream.close()


def read_along(model, tag):
    for event in create(model, ask(tag), stream=True):
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            yield event.delta.text


def whole(model, tag):
    with streamed(model, ask(tag)) as stream:
        return stream.get_final_message()


def breaks(model, tag):
    for error in breaks_off(anthropic.APIStatusError, tag, read_along(model, tag), lambda: whole(model, tag)):
        # The status was sent before the first words.
        expect((error.type, error.status_code), ("api_error", 200))


@scenario
def message_broken(model):
    breaks(model, "broken")


@scenario
def message_cut(model):
    breaks(model, "cut")
