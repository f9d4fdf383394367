"""What each SDK has beside its calls of models."""

import openai

from common import ai, ask, claude, expect, fails, scenario


@scenario
def openai_models(model):
    assert model in [one.id for one in ai.models.list()]
    expect(ai.models.retrieve(model).id, model)


@scenario
def anthropic_models(model):
    assert model in [one.id for one in claude.models.list()]
    expect(claude.models.retrieve(model).id, model)


@scenario
def openai_embeddings(model):
    if model != "claude":
        answer = ai.embeddings.create(model=model, input=["a", "b"])
        expect([list(one.embedding) for one in answer.data], [[1.0, 2.0, 3.0]] * 2)
        expect(answer.usage.prompt_tokens, 4)
    else:
        fails(openai.BadRequestError, 400, lambda: ai.embeddings.create(model=model, input="a"))


@scenario
def anthropic_counted(model):
    assert claude.messages.count_tokens(model=model, messages=ask("plain")).input_tokens > 4
