// The Anthropic SDK's messages.
'use strict';

const { jsonSchemaOutputFormat } = require('@anthropic-ai/sdk/helpers/json-schema');
const {
  ANSWER, Anthropic, HELLO, INLINE, LINKED, NEWEST, SCHEMA, ask, assert, breaksOff, claude, fails, remembered, retries,
  sunny,
} = require('./common.cjs');

const TOOLS = [{ name: 'weather', input_schema: SCHEMA, strict: true }];
const TWICE = ['Rome', 'Oslo'];
const THINKING = { thinking: { type: 'adaptive' }, output_config: { effort: 'high' } };

const asked = (model, messages, more = {}) => ({ model, max_tokens: 2000, messages, ...more });
const create = (...all) => claude.messages.create(asked(...all));
const streamed = (...all) => claude.messages.stream(asked(...all));
// The newest models think unasked, and what they thought stands before what they say.
const said = (answer) => answer.content.map((block) => (block.type === 'text' ? block.text : '')).join('');
const callsOf = (answer) => answer.content.filter((block) => block.type === 'tool_use');

async function loop(model, tag, expected) {
  const messages = ask(tag);
  const first = await create(model, messages, { tools: TOOLS });
  assert.equal(first.stop_reason, 'tool_use');
  const calls = callsOf(first);
  assert.deepEqual(calls.map((call) => call.input.city), expected);
  const results = calls.map((call, i) => ({ type: 'tool_result', tool_use_id: call.id, content: `sunny ${i}` }));
  messages.push({ role: 'assistant', content: first.content }, { role: 'user', content: results });
  const second = await create(model, messages, { tools: TOOLS });
  assert.equal(said(second), sunny(expected.length));
}

async function* readAlong(model, tag) {
  const stream = await create(model, ask(tag), { stream: true });
  for await (const event of stream) if (event.delta?.type === 'text_delta') yield event.delta.text;
}

async function breaks(model, tag) {
  const whole = () => streamed(model, ask(tag)).finalMessage();
  for (const error of await breaksOff(Anthropic.APIError, tag, readAlong(model, tag), whole)) {
    assert.equal(error.type, 'api_error');
  }
}

module.exports = {
  async message_plain(model) {
    const answer = await create(model, ask('plain'));
    assert.deepEqual([said(answer), answer.stop_reason, answer.type], [HELLO, 'end_turn', 'message']);
    const { input_tokens, cache_read_input_tokens, cache_creation_input_tokens, output_tokens } = answer.usage;
    // Chat completions need not say what is written to the cache.
    const written = { gpt: 0, claude: 100, [NEWEST]: 100 }[model];
    assert.equal(input_tokens + cache_read_input_tokens + cache_creation_input_tokens, 1112);
    assert.deepEqual([cache_read_input_tokens, cache_creation_input_tokens, output_tokens], [1000, written, 40]);
    assert.equal(answer.usage.output_tokens_details.thinking_tokens, 9);
  },

  async message_stream(model) {
    const stream = streamed(model, ask('plain'));
    const pieces = [];
    stream.on('text', (piece) => pieces.push(piece));
    const answer = await stream.finalMessage();
    assert.deepEqual([pieces.join(''), said(answer)], [HELLO, HELLO]);
    assert.deepEqual([answer.stop_reason, answer.usage.output_tokens], ['end_turn', 40]);
    assert.ok(answer.usage.input_tokens > 0);
  },

  async message_tools(model) {
    await loop(model, 'tools', ['Rome']);
  },

  async message_parallel_tools(model) {
    await loop(model, 'parallel', TWICE);
  },

  async message_streamed_tools(model) {
    const answer = await streamed(model, ask('parallel'), { tools: TOOLS }).finalMessage();
    assert.deepEqual(callsOf(answer).map((call) => call.input.city), TWICE);
  },

  async message_structured(model) {
    const output_config = { format: jsonSchemaOutputFormat(ANSWER) };
    const answer = await claude.messages.parse(asked(model, ask('schema'), { output_config }));
    assert.equal(answer.parsed_output.answer, 42);
  },

  async message_vision(model) {
    const inline = { type: 'base64', media_type: 'image/png', data: INLINE.split(',')[1] };
    for (const [source, url] of [[inline, INLINE], [{ type: 'url', url: LINKED }, LINKED]]) {
      const content = [{ type: 'text', text: '#[vision]' }, { type: 'image', source }];
      assert.equal(said(await create(model, [{ role: 'user', content }])), `seen ${url}`);
    }
  },

  async message_thoughts(model) {
    const messages = ask('think');
    const first = await streamed(model, messages, THINKING).finalMessage();
    assert.deepEqual(first.content.map((block) => block.type), ['thinking', 'text']);
    // OpenAI shows a summary to verified accounts only, and refuses others over the wish: the gateway does not ask for any.
    assert.equal(first.content[0].thinking, model === NEWEST ? '' : 'Let me see.');
    const now = { role: 'user', content: 'and now?' };
    const second = await create(model, [...messages, { role: 'assistant', content: first.content }, now], THINKING);
    assert.equal(said(second), remembered(model, 'message'));
  },

  async message_stops(model) {
    for (const [tag, reason] of [['refuse', 'refusal'], ['long', 'max_tokens']]) {
      assert.equal((await create(model, ask(tag))).stop_reason, reason);
    }
  },

  async message_errors(model) {
    const withKey = (apiKey, name = model) => () =>
      new Anthropic({ apiKey }).messages.create({ model: name, max_tokens: 20, messages: ask('plain') });
    await fails(Anthropic.AuthenticationError, 401, withKey('nonsense'));
    await fails(Anthropic.NotFoundError, 404, withKey(claude.apiKey, 'nobody'));
    await fails(Anthropic.PermissionDeniedError, 403, withKey(process.env.NARROW_KEY, 'claude'));
    const poor = await fails(Anthropic.APIError, 402, withKey(process.env.POOR_KEY));
    assert.equal(poor.headers.get('x-should-retry'), 'false');
    const bad = await fails(Anthropic.BadRequestError, 400, () => create(model, ask('bad')));
    assert.equal(bad.error.error.type, 'invalid_request_error');
    assert.match(bad.message, /does not like/);
    assert.ok(bad.requestID);
  },

  async message_retried(model) {
    const [answer, again] = await retries(Anthropic, (client) =>
      client.messages.create({ model, max_tokens: 20, messages: ask(`busy:message:${model}`) }),
    );
    assert.equal(again, 1);
    assert.equal(said(answer), HELLO);
  },

  async message_left(model) {
    const stream = await create(model, ask('slow'), { stream: true });
    for await (const event of stream) if (event.delta?.type === 'text_delta') break;
  },

  async message_broken(model) {
    await breaks(model, 'broken');
  },

  async message_cut(model) {
    await breaks(model, 'cut');
  },
};
