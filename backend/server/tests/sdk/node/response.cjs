// The OpenAI SDK's responses.
'use strict';

const {
  ANSWER, HELLO, INLINE, LINKED, OpenAI, SCHEMA, ai, assert, breaksOff, cities, collect, fails, remembered, retries, sunny,
} = require('./common.cjs');

const TOOLS = [{ type: 'function', name: 'weather', parameters: SCHEMA, strict: true }];
const SHOWN = { effort: 'high', summary: 'auto' };
const TWICE = ['Rome', 'Oslo'];

const create = (model, input, more = {}) => ai.responses.create({ model, input, ...more });

async function loop(model, tag, expected) {
  const input = [{ role: 'user', content: `#[${tag}]` }];
  const first = await create(model, input, { tools: TOOLS, store: false });
  const calls = first.output.filter((item) => item.type === 'function_call');
  assert.deepEqual(cities(calls.map((call) => call.arguments)), expected);
  const results = calls.map((call, i) => ({ type: 'function_call_output', call_id: call.call_id, output: `sunny ${i}` }));
  const second = await create(model, [...input, ...first.output, ...results], { tools: TOOLS, store: false });
  assert.equal(second.output_text, sunny(expected.length));
}

async function* readAlong(model, tag) {
  const stream = await create(model, `#[${tag}]`, { stream: true });
  for await (const event of stream) if (event.type === 'response.output_text.delta') yield event.delta;
}

async function breaks(model, tag) {
  const whole = () => ai.responses.stream({ model, input: `#[${tag}]` }).finalResponse();
  for (const error of await breaksOff(OpenAI.APIError, tag, readAlong(model, tag), whole)) {
    assert.deepEqual([error.type, error.code], ['server_error', 'upstream_error']);
  }
}

module.exports = {
  async response_plain(model) {
    const answer = await create(model, '#[plain]', { instructions: 'Be brief.' });
    assert.deepEqual([answer.output_text, answer.status, answer.store], [HELLO, 'completed', false]);
    assert.equal(answer.instructions, 'Be brief.');
    const { usage } = answer;
    assert.deepEqual([usage.input_tokens, usage.output_tokens, usage.total_tokens], [1112, 40, 1152]);
    assert.equal(usage.input_tokens_details.cached_tokens, 1000);
    assert.equal(usage.output_tokens_details.reasoning_tokens, 9);
  },

  async response_stream(model) {
    const stream = ai.responses.stream({ model, input: '#[plain]' });
    const events = await collect(stream);
    const answer = await stream.finalResponse();
    assert.deepEqual([answer.output_text, answer.usage.input_tokens], [HELLO, 1112]);
    const types = events.map((event) => event.type);
    assert.deepEqual([types[0], types[1], types.at(-1)], ['response.created', 'response.in_progress', 'response.completed']);
    assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, i) => i));
    const said = events.filter((event) => event.type === 'response.output_text.delta');
    assert.equal(said.map((event) => event.delta).join(''), HELLO);
  },

  async response_tools(model) {
    await loop(model, 'tools', ['Rome']);
  },

  async response_parallel_tools(model) {
    await loop(model, 'parallel', TWICE);
  },

  async response_streamed_tools(model) {
    const events = await collect(ai.responses.stream({ model, input: '#[parallel]', tools: TOOLS }));
    const done = events.filter((event) => event.type === 'response.function_call_arguments.done');
    assert.deepEqual(cities(done.map((event) => event.arguments)), TWICE);
  },

  async response_structured(model) {
    const format = { type: 'json_schema', name: 'answer', schema: ANSWER, strict: true };
    const answer = await ai.responses.parse({ model, input: '#[schema]', text: { format } });
    assert.equal(answer.output_parsed.answer, 42);
  },

  async response_vision(model) {
    for (const url of [INLINE, LINKED]) {
      const content = [{ type: 'input_text', text: '#[vision]' }, { type: 'input_image', image_url: url, detail: 'auto' }];
      assert.equal((await create(model, [{ role: 'user', content }])).output_text, `seen ${url}`);
    }
  },

  async response_thoughts(model) {
    const input = [{ role: 'user', content: '#[think]' }];
    const first = await create(model, input, { reasoning: SHOWN });
    assert.deepEqual(first.output.map((item) => item.type), ['reasoning', 'message']);
    assert.equal(first.output[0].summary[0].text, 'Let me see.');
    const now = { role: 'user', content: 'and now?' };
    const second = await create(model, [...input, ...first.output, now], { reasoning: { effort: 'high' } });
    assert.equal(second.output_text, remembered(model, 'response'));
    const events = await collect(ai.responses.stream({ model, input: '#[think]', reasoning: SHOWN }));
    const shown = events.filter((event) => event.type === 'response.reasoning_summary_text.delta');
    assert.equal(shown.map((event) => event.delta).join(''), 'Let me see.');
  },

  async response_stops(model) {
    for (const [tag, reason] of [['refuse', 'content_filter'], ['long', 'max_output_tokens']]) {
      const answer = await create(model, `#[${tag}]`);
      assert.deepEqual([answer.status, answer.incomplete_details.reason], ['incomplete', reason]);
    }
  },

  async response_errors(model) {
    const withKey = (apiKey, name = model) => () =>
      new OpenAI({ apiKey }).responses.create({ model: name, input: '#[plain]' });
    await fails(OpenAI.AuthenticationError, 401, withKey('nonsense'));
    await fails(OpenAI.NotFoundError, 404, withKey(ai.apiKey, 'nobody'));
    await fails(OpenAI.PermissionDeniedError, 403, withKey(process.env.NARROW_KEY, 'claude'));
    const poor = await fails(OpenAI.APIError, 402, withKey(process.env.POOR_KEY));
    assert.deepEqual([poor.code, poor.headers.get('x-should-retry')], ['budget_exceeded', 'false']);
    const bad = await fails(OpenAI.BadRequestError, 400, () => create(model, '#[bad]'));
    assert.match(bad.message, /does not like/);
    assert.ok(bad.requestID);
    // What needs a memory, or runs at OpenAI only.
    const refused = await fails(OpenAI.BadRequestError, 400, () => create(model, 'go', { previous_response_id: 'resp_1' }));
    assert.match(refused.message, /previous_response_id/);
    await fails(OpenAI.BadRequestError, 400, () => create(model, 'go', { tools: [{ type: 'web_search' }] }));
    await fails(OpenAI.BadRequestError, 400, () => create(model, 'go', { background: true }));
    await fails(OpenAI.NotFoundError, 404, () => ai.responses.retrieve('resp_1'));
  },

  async response_retried(model) {
    const [answer, again] = await retries(OpenAI, (client) =>
      client.responses.create({ model, input: `#[busy:response:${model}]` }),
    );
    assert.equal(again, 1);
    assert.equal(answer.output_text, HELLO);
  },

  async response_left(model) {
    const stream = await create(model, '#[slow]', { stream: true });
    for await (const event of stream) if (event.type === 'response.output_text.delta') break;
  },

  async response_broken(model) {
    await breaks(model, 'broken');
  },

  async response_cut(model) {
    await breaks(model, 'cut');
  },
};
