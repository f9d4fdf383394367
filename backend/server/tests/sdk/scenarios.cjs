// What the official Node SDKs do with the gateway, over a provider of each format; see scenarios.py.
'use strict';

const assert = require('node:assert/strict');
const OpenAI = require('openai');
const Anthropic = require('@anthropic-ai/sdk');

const MODELS = ['gpt', 'claude'];
const HELLO = 'Hello from upstream.';
const PICTURE = 'data:image/png;base64,iVBORw0KGgo=';
const SCHEMA = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const ANSWER = { type: 'object', properties: { answer: { type: 'integer' } }, required: ['answer'], additionalProperties: false };

const chat = new OpenAI();
const claude = new Anthropic();
const ask = (tag) => [{ role: 'user', content: `#[${tag}] please` }];
const cities = (calls) => calls.map((call) => JSON.parse(call).city);

async function collect(stream) {
  const all = [];
  for await (const one of stream) all.push(one);
  return all;
}

async function fails(kind, status, call) {
  const error = await call().then(
    () => assert.fail(`no ${kind.name}`),
    (error) => error,
  );
  assert.ok(error instanceof kind, String(error));
  assert.equal(error.status, status);
  return error;
}

const scenarios = {
  async chatPlain(model) {
    const answer = await chat.chat.completions.create({ model, messages: ask('plain') });
    assert.equal(answer.choices[0].message.content, HELLO);
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.deepEqual([answer.usage.prompt_tokens, answer.usage.total_tokens], [1112, 1152]);
    assert.equal(answer.usage.prompt_tokens_details.cached_tokens, 1000);
  },

  async chatStream(model) {
    const asked = { model, messages: ask('plain'), stream: true, stream_options: { include_usage: true } };
    const chunks = await collect(await chat.chat.completions.create(asked));
    assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join(''), HELLO);
    assert.equal(chunks.at(-1).usage.prompt_tokens, 1112);
    delete asked.stream_options;
    const bare = await collect(await chat.chat.completions.create(asked));
    assert.ok(bare.every((chunk) => !chunk.usage && chunk.choices.length === 1));
  },

  async chatToolLoop(model) {
    const tools = [{ type: 'function', function: { name: 'weather', parameters: SCHEMA, strict: true } }];
    const messages = ask('parallel');
    const first = await chat.chat.completions.create({ model, messages, tools });
    const calls = first.choices[0].message.tool_calls;
    assert.deepEqual(cities(calls.map((call) => call.function.arguments)), ['Rome', 'Oslo']);
    messages.push(first.choices[0].message);
    calls.forEach((call, i) => messages.push({ role: 'tool', tool_call_id: call.id, content: `sunny ${i}` }));
    const second = await chat.chat.completions.create({ model, messages, tools });
    assert.equal(second.choices[0].message.content, 'sunny 0 and sunny 1');
    const streamed = await chat.chat.completions.stream({ model, messages: ask('parallel'), tools }).finalChatCompletion();
    const again = streamed.choices[0].message.tool_calls;
    assert.deepEqual(cities(again.map((call) => call.function.arguments)), ['Rome', 'Oslo']);
  },

  async chatStructured(model) {
    const format = { type: 'json_schema', json_schema: { name: 'answer', schema: ANSWER, strict: true } };
    const answer = await chat.chat.completions.parse({ model, messages: ask('schema'), response_format: format });
    assert.deepEqual(answer.choices[0].message.content, '{"answer":42}');
  },

  async chatVision(model) {
    const content = [{ type: 'text', text: '#[vision]' }, { type: 'image_url', image_url: { url: PICTURE } }];
    const answer = await chat.chat.completions.create({ model, messages: [{ role: 'user', content }] });
    assert.equal(answer.choices[0].message.content, `seen ${PICTURE}`);
  },

  async chatThoughts(model) {
    const create = async (messages) =>
      (await chat.chat.completions.create({ model, messages, reasoning_effort: 'high' })).choices[0].message;
    const messages = ask('think');
    const said = await create(messages);
    assert.equal(said.reasoning_content, 'Let me see.');
    const again = await create([...messages, said, { role: 'user', content: 'and now?' }]);
    assert.equal(again.content, model === 'claude' ? 'remembered' : 'forgotten');
  },

  async chatErrors(model) {
    const withKey = (apiKey, name = model) => () =>
      new OpenAI({ apiKey }).chat.completions.create({ model: name, messages: ask('plain') });
    await fails(OpenAI.AuthenticationError, 401, withKey('nonsense'));
    await fails(OpenAI.NotFoundError, 404, withKey(chat.apiKey, 'nobody'));
    await fails(OpenAI.PermissionDeniedError, 403, withKey(process.env.NARROW_KEY, 'claude'));
    const poor = await fails(OpenAI.APIError, 402, withKey(process.env.POOR_KEY));
    assert.equal(poor.code, 'budget_exceeded');
    await fails(OpenAI.BadRequestError, 400, () => chat.chat.completions.create({ model, messages: ask('bad') }));
  },

  async chatRetried(model) {
    if (model !== 'claude') return;
    const answer = await chat.chat.completions.create({ model, messages: ask('busy:chat') });
    assert.equal(answer.choices[0].message.content, HELLO);
  },

  async chatLeft(model) {
    const stream = await chat.chat.completions.create({ model, messages: ask('slow'), stream: true });
    for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
  },

  async embeddings(model) {
    if (model === 'gpt') {
      const answer = await chat.embeddings.create({ model, input: ['a', 'b'] });
      assert.deepEqual(answer.data.map((one) => one.embedding), [[1, 2, 3], [1, 2, 3]]);
    } else {
      await fails(OpenAI.BadRequestError, 400, () => chat.embeddings.create({ model, input: 'a' }));
    }
  },

  async models(model) {
    assert.ok((await collect(chat.models.list())).some((one) => one.id === model));
    assert.ok((await collect(claude.models.list())).some((one) => one.id === model));
  },

  async responsePlain(model) {
    const answer = await chat.responses.create({ model, input: '#[plain]', instructions: 'Be brief.' });
    assert.deepEqual([answer.output_text, answer.status, answer.store], [HELLO, 'completed', false]);
    assert.deepEqual([answer.usage.input_tokens, answer.usage.total_tokens], [1112, 1152]);
  },

  async responseStream(model) {
    const stream = chat.responses.stream({ model, input: '#[plain]' });
    const events = await collect(stream);
    assert.equal((await stream.finalResponse()).output_text, HELLO);
    assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, i) => i));
    assert.equal(events.at(-1).type, 'response.completed');
  },

  async responseToolLoop(model) {
    const tools = [{ type: 'function', name: 'weather', parameters: SCHEMA, strict: true }];
    const input = [{ role: 'user', content: '#[parallel]' }];
    const first = await chat.responses.create({ model, input, tools, store: false });
    const calls = first.output.filter((item) => item.type === 'function_call');
    assert.deepEqual(cities(calls.map((call) => call.arguments)), ['Rome', 'Oslo']);
    input.push(...first.output);
    calls.forEach((call, i) => input.push({ type: 'function_call_output', call_id: call.call_id, output: `sunny ${i}` }));
    const second = await chat.responses.create({ model, input, tools, store: false });
    assert.equal(second.output_text, 'sunny 0 and sunny 1');
  },

  async responseStructured(model) {
    const format = { type: 'json_schema', name: 'answer', schema: ANSWER, strict: true };
    const answer = await chat.responses.parse({ model, input: '#[schema]', text: { format } });
    assert.equal(answer.output_text, '{"answer":42}');
  },

  async responseThoughts(model) {
    const input = [{ role: 'user', content: '#[think]' }];
    const first = await chat.responses.create({ model, input, reasoning: { effort: 'high' } });
    assert.deepEqual(first.output.map((item) => item.type), ['reasoning', 'message']);
    input.push(...first.output, { role: 'user', content: 'and now?' });
    const second = await chat.responses.create({ model, input, reasoning: { effort: 'high' } });
    assert.equal(second.output_text, model === 'claude' ? 'remembered' : 'forgotten');
  },

  async responseErrors(model) {
    const refused = await fails(OpenAI.BadRequestError, 400, () =>
      chat.responses.create({ model, input: 'go', previous_response_id: 'resp_1' }),
    );
    assert.match(refused.message, /previous_response_id/);
    await fails(OpenAI.BadRequestError, 400, () =>
      chat.responses.create({ model, input: 'go', tools: [{ type: 'web_search' }] }),
    );
    await fails(OpenAI.NotFoundError, 404, () => chat.responses.retrieve('resp_1'));
  },

  async responseLeft(model) {
    const stream = await chat.responses.create({ model, input: '#[slow]', stream: true });
    for await (const event of stream) if (event.type === 'response.output_text.delta') break;
  },

  async messagePlain(model) {
    const answer = await claude.messages.create({ model, max_tokens: 2000, messages: ask('plain') });
    assert.deepEqual([answer.content[0].text, answer.stop_reason], [HELLO, 'end_turn']);
    const { input_tokens, cache_read_input_tokens, cache_creation_input_tokens } = answer.usage;
    assert.equal(input_tokens + cache_read_input_tokens + cache_creation_input_tokens, 1112);
  },

  async messageStream(model) {
    const stream = claude.messages.stream({ model, max_tokens: 2000, messages: ask('plain') });
    assert.equal(await stream.finalText(), HELLO);
    assert.equal((await stream.finalMessage()).usage.output_tokens, 40);
  },

  async messageToolLoop(model) {
    const tools = [{ name: 'weather', input_schema: SCHEMA, strict: true }];
    const messages = ask('parallel');
    const first = await claude.messages.stream({ model, max_tokens: 2000, messages, tools }).finalMessage();
    const calls = first.content.filter((block) => block.type === 'tool_use');
    assert.deepEqual(calls.map((call) => call.input.city), ['Rome', 'Oslo']);
    const results = calls.map((call, i) => ({ type: 'tool_result', tool_use_id: call.id, content: `sunny ${i}` }));
    messages.push({ role: 'assistant', content: first.content }, { role: 'user', content: results });
    const second = await claude.messages.create({ model, max_tokens: 2000, messages, tools });
    assert.equal(second.content[0].text, 'sunny 0 and sunny 1');
  },

  async messageStructured(model) {
    const output_config = { format: { type: 'json_schema', schema: ANSWER } };
    const answer = await claude.messages.create({ model, max_tokens: 2000, messages: ask('schema'), output_config });
    assert.equal(answer.content[0].text, '{"answer":42}');
  },

  async messageVision(model) {
    const source = { type: 'base64', media_type: 'image/png', data: PICTURE.split(',')[1] };
    const content = [{ type: 'text', text: '#[vision]' }, { type: 'image', source }];
    const answer = await claude.messages.create({ model, max_tokens: 2000, messages: [{ role: 'user', content }] });
    assert.equal(answer.content[0].text, `seen ${PICTURE}`);
  },

  async messageThoughts(model) {
    const wanted = { model, max_tokens: 2000, thinking: { type: 'adaptive' }, output_config: { effort: 'high' } };
    const messages = ask('think');
    const first = await claude.messages.create({ ...wanted, messages });
    assert.equal(first.content[0].thinking, 'Let me see.');
    messages.push({ role: 'assistant', content: first.content }, { role: 'user', content: 'and now?' });
    const second = await claude.messages.create({ ...wanted, messages });
    assert.equal(second.content[0].text, model === 'claude' ? 'remembered' : 'forgotten');
  },

  async messageErrors(model) {
    const withKey = (apiKey, name = model) => () =>
      new Anthropic({ apiKey }).messages.create({ model: name, max_tokens: 20, messages: ask('plain') });
    await fails(Anthropic.AuthenticationError, 401, withKey('nonsense'));
    await fails(Anthropic.NotFoundError, 404, withKey(claude.apiKey, 'nobody'));
    await fails(Anthropic.APIError, 402, withKey(process.env.POOR_KEY));
    await fails(Anthropic.BadRequestError, 400, () =>
      claude.messages.create({ model, max_tokens: 20, messages: ask('bad') }),
    );
  },

  async messageRetried(model) {
    if (model !== 'gpt') return;
    const answer = await claude.messages.create({ model, max_tokens: 20, messages: ask('busy:message') });
    assert.equal(answer.content[0].text, HELLO);
  },

  async messageLeft(model) {
    const stream = await claude.messages.create({ model, max_tokens: 2000, messages: ask('slow'), stream: true });
    for await (const event of stream) if (event.type === 'content_block_delta') break;
  },
};

(async () => {
  for (const model of MODELS) {
    for (const [name, scenario] of Object.entries(scenarios)) {
      try {
        await scenario(model);
      } catch (error) {
        console.log(`FAILED ${name} over ${model}`);
        console.error(error);
        process.exit(1);
      }
      console.log(`${name} over ${model}`);
    }
  }
  console.log('all done');
})();
