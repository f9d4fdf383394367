// What each SDK has beside its calls of models.
'use strict';

const { OpenAI, ai, ask, assert, claude, collect, fails } = require('./common.cjs');

module.exports = {
  async openai_models(model) {
    assert.ok((await collect(ai.models.list())).some((one) => one.id === model));
    assert.equal((await ai.models.retrieve(model)).id, model);
  },

  async anthropic_models(model) {
    assert.ok((await collect(claude.models.list())).some((one) => one.id === model));
    assert.equal((await claude.models.retrieve(model)).id, model);
  },

  async openai_embeddings(model) {
    if (model !== 'claude') {
      const answer = await ai.embeddings.create({ model, input: ['a', 'b'] });
      assert.deepEqual(answer.data.map((one) => one.embedding), [[1, 2, 3], [1, 2, 3]]);
      assert.equal(answer.usage.prompt_tokens, 4);
    } else {
      await fails(OpenAI.BadRequestError, 400, () => ai.embeddings.create({ model, input: 'a' }));
    }
  },

  async anthropic_counted(model) {
    const counted = await claude.messages.countTokens({ model, messages: ask('plain') });
    assert.ok(counted.input_tokens > 4);
  },
};
