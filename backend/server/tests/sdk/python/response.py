"""The OpenAI SDK's responses."""

import os

import openai

from common import HELLO, INLINE, LINKED, SCHEMA, Answer, ai, breaks_off, cities, expect, fails, remembered, scenario, sunny

TOOLS = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}]
SHOWN = {"effort": "high", "summary": "auto"}


def create(model, asked, **more):
    return ai.responses.create(model=model, input=asked, **more)


@scenario
def response_plain(model):
    answer = create(model, "#[plain]", instructions="Be brief.")
    expect((answer.output_text, answer.status, answer.store), (HELLO, "completed", False))
    expect(answer.instructions, "Be brief.")
    expect((answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens), (1112, 40, 1152))
    expect(answer.usage.input_tokens_details.cached_tokens, 1000)
    expect(answer.usage.output_tokens_details.reasoning_tokens, 9)


@scenario
def response_stream(model):
    with ai.responses.stream(model=model, input="#[plain]") as stream:
        events = list(stream)
        answer = stream.get_final_response()
    expect((answer.output_text, answer.usage.input_tokens), (HELLO, 1112))
    expect([events[0].type, events[1].type, events[-1].type], ["response.created", "response.in_progress", "response.completed"])
    expect([event.sequence_number for event in events], list(range(len(events))))
    expect("".join(event.delta for event in events if event.type == "response.output_text.delta"), HELLO)


def loop(model, tag, expected):
    items = [{"role": "user", "content": f"#[{tag}]"}]
    answer = create(model, items, tools=TOOLS, store=False)
    calls = [item for item in answer.output if item.type == "function_call"]
    expect(cities(call.arguments for call in calls), expected)
    items += answer.output
    items += [{"type": "function_call_output", "call_id": c.call_id, "output": f"sunny {i}"} for i, c in enumerate(calls)]
    expect(create(model, items, tools=TOOLS, store=False).output_text, sunny(len(expected)))


@scenario
def response_tools(model):
    loop(model, "tools", ["Rome"])


@scenario
def response_parallel_tools(model):
    loop(model, "parallel", ["Rome", "Oslo"])


@scenario
def response_streamed_tools(model):
    with ai.responses.stream(model=model, input="#[parallel]", tools=TOOLS) as stream:
        done = [event.arguments for event in stream if event.type == "response.function_call_arguments.done"]
    expect(cities(done), ["Rome", "Oslo"])


@scenario
def response_structured(model):
    expect(ai.responses.parse(model=model, input="#[schema]", text_format=Answer).output_parsed.answer, 42)


@scenario
def response_vision(model):
    for url in (INLINE, LINKED):
        parts = [{"type": "input_text", "text": "#[vision]"}, {"type": "input_image", "image_url": url, "detail": "auto"}]
        expect(create(model, [{"role": "user", "content": parts}]).output_text, f"seen {url}")


@scenario
def response_thoughts(model):
    items = [{"role": "user", "content": "#[think]"}]
    answer = create(model, items, reasoning=SHOWN)
    expect([item.type for item in answer.output], ["reasoning", "message"])
    expect(answer.output[0].summary[0].text, "Let me see.")
    items += answer.output
    items.append({"role": "user", "content": "and now?"})
    expect(create(model, items, reasoning={"effort": "high"}).output_text, remembered(model, "response"))
    with ai.responses.stream(model=model, input="#[think]", reasoning=SHOWN) as stream:
        shown = [event.delta for event in stream if event.type == "response.reasoning_summary_text.delta"]
    expect("".join(shown), "Let me see.")


@scenario
def response_stops(model):
    for tag, reason in (("refuse", "content_filter"), ("long", "max_output_tokens")):
        answer = create(model, f"#[{tag}]")
        expect((answer.status, answer.incomplete_details.reason), ("incomplete", reason))


@scenario
def response_errors(model):
    def with_key(key, name=model):
        client = openai.OpenAI(api_key=key)
        return lambda: client.responses.create(model=name, input="#[plain]")

    fails(openai.AuthenticationError, 401, with_key("nonsense"))
    fails(openai.NotFoundError, 404, with_key(ai.api_key, "nobody"))
    fails(openai.PermissionDeniedError, 403, with_key(os.environ["NARROW_KEY"], "claude"))
    poor = fails(openai.APIStatusError, 402, with_key(os.environ["POOR_KEY"]))
    expect((poor.code, poor.response.headers["x-should-retry"]), ("budget_exceeded", "false"))
    bad = fails(openai.BadRequestError, 400, lambda: create(model, "#[bad]"))
    assert "does not like" in bad.message, bad.message
    assert bad.request_id
    # What needs a memory, or runs at OpenAI only.
    refused = fails(openai.BadRequestError, 400, lambda: create(model, "go", previous_response_id="resp_1"))
    assert "previous_response_id" in refused.message, refused.message
    fails(openai.BadRequestError, 400, lambda: create(model, "go", tools=[{"type": "web_search"}]))
    fails(openai.BadRequestError, 400, lambda: create(model, "go", background=True))
    fails(openai.NotFoundError, 404, lambda: ai.responses.retrieve("resp_1"))


@scenario
def response_retried(model):
    raw = ai.responses.with_raw_response.create(model=model, input=f"#[busy:response:{model}]")
    expect(raw.retries_taken, 1)
    expect(raw.parse().output_text, HELLO)


@scenario
def response_left(model):
    stream = create(model, "#[slow]", stream=True)
    for event in stream:
        if event.type == "response.output_text.delta":
            break
    stream.close()


def read_along(model, tag):
    for event in create(model, f"#[{tag}]", stream=True):
        if event.type == "response.output_text.delta":
            yield event.delta


def whole(model, tag):
    with ai.responses.stream(model=model, input=f"#[{tag}]") as stream:
        return stream.get_final_response()


def breaks(model, tag):
    for error in breaks_off(openai.APIError, tag, read_along(model, tag), lambda: whole(model, tag)):
        expect((error.type, error.code), ("server_error", "upstream_error"))


@scenario
def response_broken(model):
    breaks(model, "broken")


@scenario
def response_cut(model):
    breaks(model, "cut")
