"""What the official Python SDKs do with the gateway, over a provider of each format.

The environment gives a base URL and a key, as any program would be given; what the providers do is asked for by a word in
brackets. Prints a line for every scenario, and a last one when all are done.
"""

import json
import os

import anthropic
import openai
import pydantic

MODELS = ("gpt", "claude")
HELLO = "Hello from upstream."
PICTURE = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}

chat = openai.OpenAI()
claude = anthropic.Anthropic()
SCENARIOS = []


class Answer(pydantic.BaseModel):
    answer: int


def scenario(function):
    SCENARIOS.append(function)
    return function


def ask(tag):
    return [{"role": "user", "content": f"#[{tag}] please"}]


def expect(actual, expected):
    assert actual == expected, f"{actual!r} and not {expected!r}"


def fails(kind, status, call):
    try:
        call()
    except kind as error:
        expect(error.status_code, status)
        return error
    raise AssertionError(f"no {kind.__name__}")


# OpenAI: chat completions


@scenario
def chat_plain(model):
    answer = chat.chat.completions.create(model=model, messages=ask("plain"))
    expect(answer.choices[0].message.content, HELLO)
    expect(answer.choices[0].finish_reason, "stop")
    expect(answer.object, "chat.completion")
    expect((answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens), (1112, 40, 1152))
    expect(answer.usage.prompt_tokens_details.cached_tokens, 1000)
    expect(answer.usage.completion_tokens_details.reasoning_tokens, 9)


@scenario
def chat_stream(model):
    options = {"include_usage": True}
    with chat.chat.completions.create(model=model, messages=ask("plain"), stream=True, stream_options=options) as stream:
        chunks = list(stream)
    expect("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), HELLO)
    expect(chunks[0].choices[0].delta.role, "assistant")
    expect([chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1], "stop")
    expect((chunks[-1].choices, chunks[-1].usage.prompt_tokens), ([], 1112))
    with chat.chat.completions.create(model=model, messages=ask("plain"), stream=True) as stream:
        assert all(chunk.usage is None and chunk.choices for chunk in stream)


def chat_tools():
    return [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "strict": True}}]


@scenario
def chat_tool_loop(model):
    messages = ask("parallel")
    answer = chat.chat.completions.create(model=model, messages=messages, tools=chat_tools())
    expect(answer.choices[0].finish_reason, "tool_calls")
    calls = answer.choices[0].message.tool_calls
    expect([json.loads(call.function.arguments)["city"] for call in calls], ["Rome", "Oslo"])
    messages.append(answer.choices[0].message)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"sunny {i}"} for i, call in enumerate(calls)]
    answer = chat.chat.completions.create(model=model, messages=messages, tools=chat_tools())
    expect(answer.choices[0].message.content, "sunny 0 and sunny 1")


@scenario
def chat_streamed_tools(model):
    with chat.chat.completions.stream(model=model, messages=ask("parallel"), tools=chat_tools()) as stream:
        indices = [event.index for event in stream if event.type == "tool_calls.function.arguments.done"]
        answer = stream.get_final_completion()
    expect(indices, [0, 1])
    calls = answer.choices[0].message.tool_calls
    expect([json.loads(call.function.arguments)["city"] for call in calls], ["Rome", "Oslo"])


@scenario
def chat_structured(model):
    answer = chat.chat.completions.parse(model=model, messages=ask("schema"), response_format=Answer)
    expect(answer.choices[0].message.parsed.answer, 42)


@scenario
def chat_vision(model):
    for url in (PICTURE, "https://example.com/p.png"):
        parts = [{"type": "text", "text": "#[vision]"}, {"type": "image_url", "image_url": {"url": url}}]
        answer = chat.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}])
        expect(answer.choices[0].message.content, f"seen {url}")


@scenario
def chat_thoughts(model):
    def create(messages):
        return chat.chat.completions.create(model=model, messages=messages, reasoning_effort="high").choices[0].message

    messages = ask("think")
    said = create(messages)
    expect((said.content, said.reasoning_content), ("Seen.", "Let me see."))
    messages += [said.model_dump(exclude_none=True), {"role": "user", "content": "and now?"}]
    # Only Anthropic signs what it thought, and so only its model gets it back.
    expect(create(messages).content, "remembered" if model == "claude" else "forgotten")


@scenario
def chat_stops(model):
    for tag, reason in (("refuse", "content_filter"), ("long", "length")):
        answer = chat.chat.completions.create(model=model, messages=ask(tag))
        expect(answer.choices[0].finish_reason, reason)


@scenario
def chat_errors(model):
    def with_key(key, name=model):
        client = openai.OpenAI(api_key=key)
        return lambda: client.chat.completions.create(model=name, messages=ask("plain"))

    fails(openai.AuthenticationError, 401, with_key("nonsense"))
    fails(openai.NotFoundError, 404, with_key(chat.api_key, "nobody"))
    fails(openai.PermissionDeniedError, 403, with_key(os.environ["NARROW_KEY"], "claude"))
    poor = fails(openai.APIStatusError, 402, with_key(os.environ["POOR_KEY"]))
    expect((poor.code, poor.response.headers["x-should-retry"]), ("budget_exceeded", "false"))
    bad = fails(openai.BadRequestError, 400, lambda: chat.chat.completions.create(model=model, messages=ask("bad")))
    assert "does not like" in bad.message, bad.message
    assert bad.request_id


@scenario
def chat_retried(model):
    # The other SDK has the other provider's turn.
    if model == "claude":
        raw = chat.chat.completions.with_raw_response.create(model=model, messages=ask("busy:chat"))
        expect(raw.retries_taken, 1)
        expect(raw.parse().choices[0].message.content, HELLO)


@scenario
def chat_left(model):
    stream = chat.chat.completions.create(model=model, messages=ask("slow"), stream=True)
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    stream.close()


@scenario
def embeddings(model):
    if model == "gpt":
        answer = chat.embeddings.create(model=model, input=["a", "b"])
        expect([list(one.embedding) for one in answer.data], [[1.0, 2.0, 3.0]] * 2)
        expect(answer.usage.prompt_tokens, 4)
    else:
        fails(openai.BadRequestError, 400, lambda: chat.embeddings.create(model=model, input="a"))


@scenario
def models(model):
    assert model in [one.id for one in chat.models.list()]
    expect(chat.models.retrieve(model).id, model)
    assert model in [one.id for one in claude.models.list()]


# OpenAI: responses


@scenario
def response_plain(model):
    answer = chat.responses.create(model=model, input="#[plain]", instructions="Be brief.")
    expect((answer.output_text, answer.status, answer.store), (HELLO, "completed", False))
    expect(answer.instructions, "Be brief.")
    expect((answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens), (1112, 40, 1152))
    expect(answer.usage.input_tokens_details.cached_tokens, 1000)
    expect(answer.usage.output_tokens_details.reasoning_tokens, 9)


@scenario
def response_stream(model):
    with chat.responses.stream(model=model, input="#[plain]") as stream:
        events = list(stream)
        answer = stream.get_final_response()
    expect(answer.output_text, HELLO)
    expect([events[0].type, events[1].type, events[-1].type], ["response.created", "response.in_progress", "response.completed"])
    expect([event.sequence_number for event in events], list(range(len(events))))
    expect("".join(event.delta for event in events if event.type == "response.output_text.delta"), HELLO)


def response_tools():
    return [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}]


@scenario
def response_tool_loop(model):
    items = [{"role": "user", "content": "#[parallel]"}]
    answer = chat.responses.create(model=model, input=items, tools=response_tools(), store=False)
    calls = [item for item in answer.output if item.type == "function_call"]
    expect([json.loads(call.arguments)["city"] for call in calls], ["Rome", "Oslo"])
    items += answer.output
    items += [{"type": "function_call_output", "call_id": c.call_id, "output": f"sunny {i}"} for i, c in enumerate(calls)]
    answer = chat.responses.create(model=model, input=items, tools=response_tools(), store=False)
    expect(answer.output_text, "sunny 0 and sunny 1")
    with chat.responses.stream(model=model, input="#[parallel]", tools=response_tools()) as stream:
        done = [event.arguments for event in stream if event.type == "response.function_call_arguments.done"]
    expect([json.loads(arguments)["city"] for arguments in done], ["Rome", "Oslo"])


@scenario
def response_structured(model):
    expect(chat.responses.parse(model=model, input="#[schema]", text_format=Answer).output_parsed.answer, 42)


@scenario
def response_vision(model):
    parts = [{"type": "input_text", "text": "#[vision]"}, {"type": "input_image", "image_url": PICTURE, "detail": "auto"}]
    answer = chat.responses.create(model=model, input=[{"role": "user", "content": parts}])
    expect(answer.output_text, f"seen {PICTURE}")


@scenario
def response_thoughts(model):
    items = [{"role": "user", "content": "#[think]"}]
    answer = chat.responses.create(model=model, input=items, reasoning={"effort": "high", "summary": "auto"})
    expect([item.type for item in answer.output], ["reasoning", "message"])
    expect(answer.output[0].summary[0].text, "Let me see.")
    items += answer.output
    items.append({"role": "user", "content": "and now?"})
    answer = chat.responses.create(model=model, input=items, reasoning={"effort": "high"})
    expect(answer.output_text, "remembered" if model == "claude" else "forgotten")


@scenario
def response_cut(model):
    answer = chat.responses.create(model=model, input="#[long]")
    expect((answer.status, answer.incomplete_details.reason), ("incomplete", "max_output_tokens"))


@scenario
def response_errors(model):
    create = chat.responses.create
    refused = fails(openai.BadRequestError, 400, lambda: create(model=model, input="go", previous_response_id="resp_1"))
    assert "previous_response_id" in refused.message, refused.message
    fails(openai.BadRequestError, 400, lambda: create(model=model, input="go", tools=[{"type": "web_search"}]))
    fails(openai.BadRequestError, 400, lambda: create(model=model, input="go", background=True))
    fails(openai.NotFoundError, 404, lambda: chat.responses.retrieve("resp_1"))
    fails(openai.NotFoundError, 404, lambda: create(model="nobody", input="go"))


@scenario
def response_left(model):
    stream = chat.responses.create(model=model, input="#[slow]", stream=True)
    for event in stream:
        if event.type == "response.output_text.delta":
            break
    stream.close()


# Anthropic: messages


def create(model, tag, **more):
    return claude.messages.create(model=model, max_tokens=2000, messages=ask(tag), **more)


@scenario
def message_plain(model):
    answer = create(model, "plain")
    expect((answer.content[0].text, answer.stop_reason, answer.type), (HELLO, "end_turn", "message"))
    usage = answer.usage
    # OpenAI's format says nothing of what is written to the cache.
    written = {"gpt": 0, "claude": 100}[model]
    expect(usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens, 1112)
    expect((usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.output_tokens), (1000, written, 40))
    expect(usage.output_tokens_details.thinking_tokens, 9)


@scenario
def message_stream(model):
    with claude.messages.stream(model=model, max_tokens=2000, messages=ask("plain")) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    expect((text, answer.content[0].text, answer.usage.output_tokens), (HELLO, HELLO, 40))
    assert answer.usage.input_tokens > 0


@scenario
def message_tool_loop(model):
    tools = [{"name": "weather", "input_schema": SCHEMA, "strict": True}]
    messages = ask("parallel")
    answer = claude.messages.create(model=model, max_tokens=2000, messages=messages, tools=tools)
    expect(answer.stop_reason, "tool_use")
    calls = [block for block in answer.content if block.type == "tool_use"]
    expect([call.input["city"] for call in calls], ["Rome", "Oslo"])
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"sunny {i}"} for i, call in enumerate(calls)]
    messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    answer = claude.messages.create(model=model, max_tokens=2000, messages=messages, tools=tools)
    expect(answer.content[0].text, "sunny 0 and sunny 1")
    with claude.messages.stream(model=model, max_tokens=2000, messages=ask("parallel"), tools=tools) as stream:
        answer = stream.get_final_message()
    expect([block.input["city"] for block in answer.content if block.type == "tool_use"], ["Rome", "Oslo"])


@scenario
def message_structured(model):
    answer = claude.messages.parse(model=model, max_tokens=2000, messages=ask("schema"), output_format=Answer)
    expect(answer.parsed_output.answer, 42)


@scenario
def message_vision(model):
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE.split(",")[1]}
    parts = [{"type": "text", "text": "#[vision]"}, {"type": "image", "source": source}]
    answer = claude.messages.create(model=model, max_tokens=2000, messages=[{"role": "user", "content": parts}])
    expect(answer.content[0].text, f"seen {PICTURE}")


@scenario
def message_thoughts(model):
    wanted = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
    messages = ask("think")
    with claude.messages.stream(model=model, max_tokens=2000, messages=messages, **wanted) as stream:
        answer = stream.get_final_message()
    expect([block.type for block in answer.content], ["thinking", "text"])
    expect(answer.content[0].thinking, "Let me see.")
    messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": "and now?"}]
    answer = claude.messages.create(model=model, max_tokens=2000, messages=messages, **wanted)
    expect(answer.content[0].text, "remembered" if model == "claude" else "forgotten")


@scenario
def message_stops(model):
    expect(create(model, "refuse").stop_reason, "refusal")
    expect(create(model, "long").stop_reason, "max_tokens")


@scenario
def message_counted(model):
    assert claude.messages.count_tokens(model=model, messages=ask("plain")).input_tokens > 4


@scenario
def message_errors(model):
    def with_key(key, name=model):
        client = anthropic.Anthropic(api_key=key)
        return lambda: client.messages.create(model=name, max_tokens=20, messages=ask("plain"))

    fails(anthropic.AuthenticationError, 401, with_key("nonsense"))
    fails(anthropic.NotFoundError, 404, with_key(claude.api_key, "nobody"))
    fails(anthropic.PermissionDeniedError, 403, with_key(os.environ["NARROW_KEY"], "claude"))
    fails(anthropic.APIStatusError, 402, with_key(os.environ["POOR_KEY"]))
    bad = fails(anthropic.BadRequestError, 400, lambda: create(model, "bad"))
    expect(bad.body["error"]["type"], "invalid_request_error")
    assert bad.request_id


@scenario
def message_retried(model):
    if model == "gpt":
        raw = claude.messages.with_raw_response.create(model=model, max_tokens=20, messages=ask("busy:message"))
        expect(raw.retries_taken, 1)
        expect(raw.parse().content[0].text, HELLO)


@scenario
def message_left(model):
    stream = claude.messages.create(model=model, max_tokens=2000, messages=ask("slow"), stream=True)
    for event in stream:
        if event.type == "content_block_delta":
            break
    stream.close()


for name in MODELS:
    for one in SCENARIOS:
        try:
            one(name)
        except Exception:
            print(f"FAILED {one.__name__} over {name}", flush=True)
            raise
        print(f"{one.__name__} over {name}", flush=True)
print("all done")
