"""What the scenarios share: the SDKs' clients, what is asked, how it is judged, and which scenarios there are.

The environment gives a base URL and a key, as any program would be given; what the providers do is asked for by a word in
brackets.
"""

import json

import anthropic
import openai
import pydantic

# OpenAI's newest models are asked over responses; what is written as chat completions stays that.
NEWEST = "gpt-6"
MODELS = ("gpt", "claude", NEWEST)
HELLO = "Hello from upstream."
# What comes of that before a stream breaks.
BEGUN = "Hello "
# What the gateway names as the cause.
CAUSES = {"broken": "the model went away", "cut": "connection: "}
INLINE = "data:image/png;base64,iVBORw0KGgo="
LINKED = "https://example.com/p.png"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}

ai = openai.OpenAI()
claude = anthropic.Anthropic()
SCENARIOS = {}


class Answer(pydantic.BaseModel):
    answer: int


def scenario(function):
    """Its name is one of those that `scenarios.json` says."""
    SCENARIOS[function.__name__] = function
    return function


def ask(tag):
    return [{"role": "user", "content": f"#[{tag}] please"}]


def expect(actual, expected):
    assert actual == expected, f"{actual!r} and not {expected!r}"


def cities(arguments):
    return [json.loads(text)["city"] for text in arguments]


def sunny(count):
    """What is made of so many results."""
    return " and ".join(f"sunny {i}" for i in range(count))


def remembered(model, way):
    """Anthropic signs what it thought and OpenAI seals it in responses, and so only their models get it back."""
    return "remembered" if model == "claude" or (model == NEWEST and way != "chat") else "forgotten"


def raised(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def fails(kind, status, call):
    error = raised(kind, call)
    expect(error.status_code, status)
    return error


def breaks_off(kind, tag, pieces, whole):
    """Whoever reads along has the beginning and then the exception, whoever waits for the whole has the exception: nobody
    takes a part for the answer."""
    read = []

    def read_along():
        for piece in pieces:
            read.append(piece)

    errors = [raised(kind, read_along), raised(kind, whole)]
    expect("".join(read), BEGUN)
    for error in errors:
        assert "broke off" in error.message and CAUSES[tag] in error.message, error.message
    return errors
