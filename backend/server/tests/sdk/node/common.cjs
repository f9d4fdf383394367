// What the scenarios share: the SDKs' clients, what is asked and how it is judged; see ../python/common.py.
'use strict';

const assert = require('node:assert/strict');
const OpenAI = require('openai');
const Anthropic = require('@anthropic-ai/sdk');

// OpenAI's newest models are asked over responses; what is written as chat completions stays that.
const NEWEST = 'gpt-6';
const HELLO = 'Hello from upstream.';
// What comes of that before a stream breaks.
const BEGUN = 'Hello ';
// What the gateway names as the cause.
const CAUSES = { broken: 'the model went away', cut: 'connection: ' };
const INLINE = 'data:image/png;base64,iVBORw0KGgo=';
const LINKED = 'https://example.com/p.png';
const SCHEMA = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const ANSWER = { type: 'object', properties: { answer: { type: 'integer' } }, required: ['answer'], additionalProperties: false };

const ai = new OpenAI();
const claude = new Anthropic();

const ask = (tag) => [{ role: 'user', content: `#[${tag}] please` }];

const cities = (calls) => calls.map((call) => JSON.parse(call).city);

// What is made of so many results.
const sunny = (count) => Array.from({ length: count }, (_, i) => `sunny ${i}`).join(' and ');

// Anthropic signs what it thought and OpenAI seals it in responses, and so only their models get it back.
const remembered = (model, way) =>
  model === 'claude' || (model === NEWEST && way !== 'chat') ? 'remembered' : 'forgotten';

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

// Whoever reads along has the beginning and then the exception, whoever waits for the whole has the exception: nobody
// takes a part for the answer. Within a stream there is no status.
async function breaksOff(kind, tag, pieces, whole) {
  const read = [];
  const readAlong = async () => {
    for await (const piece of pieces) read.push(piece);
  };
  const errors = [await fails(kind, undefined, readAlong), await fails(kind, undefined, whole)];
  assert.equal(read.join(''), BEGUN);
  for (const { message } of errors) assert.ok(message.includes('broke off') && message.includes(CAUSES[tag]), message);
  return errors;
}

// Asks with a client whose requests are counted: the SDKs do not say how often they tried again.
async function retries(Client, call) {
  let requests = 0;
  const counted = (...request) => {
    requests += 1;
    return fetch(...request);
  };
  const answer = await call(new Client({ fetch: counted }));
  return [answer, requests - 1];
}

module.exports = {
  ANSWER,
  Anthropic,
  HELLO,
  INLINE,
  LINKED,
  NEWEST,
  OpenAI,
  SCHEMA,
  ai,
  ask,
  assert,
  breaksOff,
  cities,
  claude,
  collect,
  fails,
  remembered,
  retries,
  sunny,
};
