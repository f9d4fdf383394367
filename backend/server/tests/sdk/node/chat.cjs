// The OpenAI SDK's chat completions.
'use strict';

const {
  ANSWER, HELLO, INLINE, LINKED, NEWEST, OpenAI, SCHEMA, ai, ask, assert, breaksOff, cities, collect, fails, remembered,
  retries, sunny,
} = require('./common.cjs');

const TOOLS = [{ type: 'function', function: { name: 'weather', parameters: SCHEMA, strict: true } }];
const TWICE = ['Rome', 'Oslo'];

const create = (model, messages, more = {}) => ai.chat.completions.create({ model, messages, ...more });
// OpenAI's newest models take tools over chat completions only where they are told not to think.
const offered = (model) => (model === NEWEST ? { tools: TOOLS, reasoning_effort: 'none' } : { tools: TOOLS });
const argumentsOf = (answer) => answer.choices[0].message.tool_calls.map((call) => call.function.arguments);

async function loop(model, tag, expected) {
  const messages = ask(tag);
  const first = await create(model, messages, offered(model));
  assert.equal(first.choices[0].finish_reason, 'tool_calls');
  assert.deepEqual(cities(argumentsOf(first)), expected);
  const said = first.choices[0].message;
  const results = said.tool_calls.map((call, i) => ({ role: 'tool', tool_call_id: call.id, content: `sunny ${i}` }));
  const second = await create(model, [...messages, said, ...results], offered(model));
  assert.equal(second.choices[0].message.content, sunny(expected.length));
}

async function* readAlong(model, tag) {
  const stream = await create(model, ask(tag), { stream: true });
  for await (const chunk of stream) yield chunk.choices[0].delta.content ?? '';
}

async function breaks(model, tag) {
  const whole = () => ai.chat.completions.stream({ model, messages: ask(tag) }).finalChatCompletion();
  for (const error of await breaksOff(OpenAI.APIError, tag, readAlong(model, tag), whole)) {
    assert.deepEqual([error.type, error.code], ['server_error', 'upstream_error']);
  }
}

module.exports = {
  async chat_plain(model) {
    const answer = await create(model, ask('plain'));
    assert.equal(answer.choices[0].message.content, HELLO);
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.equal(answer.object, 'chat.completion');
    const { usage } = answer;
    assert.deepEqual([usage.prompt_tokens, usage.completion_tokens, usage.total_tokens], [1112, 40, 1152]);
    assert.equal(usage.prompt_tokens_details.cached_tokens, 1000);
    assert.equal(usage.completion_tokens_details.reasoning_tokens, 9);
  },

  async chat_stream(model) {
    const streamed = { stream: true, stream_options: { include_usage: true } };
    const chunks = await collect(await create(model, ask('plain'), streamed));
    assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join(''), HELLO);
    assert.equal(chunks[0].choices[0].delta.role, 'assistant');
    assert.equal(chunks.flatMap((chunk) => chunk.choices).at(-1).finish_reason, 'stop');
    assert.deepEqual([chunks.at(-1).choices, chunks.at(-1).usage.prompt_tokens], [[], 1112]);
    const bare = await collect(await create(model, ask('plain'), { stream: true }));
    assert.ok(bare.every((chunk) => !chunk.usage && chunk.choices.length === 1));
  },

  async chat_tools(model) {
    await loop(model, 'tools', ['Rome']);
  },

  async chat_parallel_tools(model) {
    await loop(model, 'parallel', TWICE);
  },

  async chat_streamed_tools(model) {
    const stream = ai.chat.completions.stream({ model, messages: ask('parallel'), ...offered(model) });
    const indices = [];
    stream.on('tool_calls.function.arguments.done', (event) => indices.push(event.index));
    const answer = await stream.finalChatCompletion();
    assert.deepEqual(indices, [0, 1]);
    assert.deepEqual(cities(argumentsOf(answer)), TWICE);
  },

  async chat_structured(model) {
    const format = { type: 'json_schema', json_schema: { name: 'answer', schema: ANSWER, strict: true } };
    const answer = await ai.chat.completions.parse({ model, messages: ask('schema'), response_format: format });
    assert.equal(answer.choices[0].message.parsed.answer, 42);
  },

  async chat_vision(model) {
    for (const url of [INLINE, LINKED]) {
      const content = [{ type: 'text', text: '#[vision]' }, { type: 'image_url', image_url: { url } }];
      const answer = await create(model, [{ role: 'user', content }]);
      assert.equal(answer.choices[0].message.content, `seen ${url}`);
    }
  },

  async chat_thoughts(model) {
    const wanted = { reasoning_effort: 'high' };
    const messages = ask('think');
    const said = (await create(model, messages, wanted)).choices[0].message;
    assert.deepEqual([said.content, said.reasoning_content], ['Seen.', 'Let me see.']);
    const again = await create(model, [...messages, said, { role: 'user', content: 'and now?' }], wanted);
    assert.equal(again.choices[0].message.content, remembered(model, 'chat'));
  },

  async chat_stops(model) {
    for (const [tag, reason] of [['refuse', 'content_filter'], ['long', 'length']]) {
      assert.equal((await create(model, ask(tag))).choices[0].finish_reason, reason);
    }
  },

  async chat_errors(model) {
    const withKey = (apiKey, name = model) => () =>
      new OpenAI({ apiKey }).chat.completions.create({ model: name, messages: ask('plain') });
    await fails(OpenAI.AuthenticationError, 401, withKey('nonsense'));
    await fails(OpenAI.NotFoundError, 404, withKey(ai.apiKey, 'nobody'));
    await fails(OpenAI.PermissionDeniedError, 403, withKey(process.env.NARROW_KEY, 'claude'));
    const poor = await fails(OpenAI.APIError, 402, withKey(process.env.POOR_KEY));
    assert.deepEqual([poor.code, poor.headers.get('x-should-retry')], ['budget_exceeded', 'false']);
    const bad = await fails(OpenAI.BadRequestError, 400, () => create(model, ask('bad')));
    assert.match(bad.message, /does not like/);
    assert.ok(bad.requestID);
    if (model === NEWEST) {
      const told = await fails(OpenAI.BadRequestError, 400, () => create(model, ask('tools'), { tools: TOOLS }));
      assert.match(told.message, /\/v1\/responses/);
    }
  },

  async chat_retried(model) {
    const [answer, again] = await retries(OpenAI, (client) =>
      client.chat.completions.create({ model, messages: ask(`busy:chat:${model}`) }),
    );
    assert.equal(again, 1);
    assert.equal(answer.choices[0].message.content, HELLO);
  },

  async chat_left(model) {
    const stream = await create(model, ask('slow'), { stream: true });
    for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
  },

  async chat_broken(model) {
    await breaks(model, 'broken');
  },

  async chat_cut(model) {
    await breaks(model, 'cut');
  },
};
