// What the official Node SDKs do with the gateway, over a provider of each format; see ../python/run.py.
'use strict';

const { NEWEST } = require('./common.cjs');

const MODELS = ['gpt', 'claude', NEWEST];
const scenarios = {
  ...require('./chat.cjs'),
  ...require('./response.cjs'),
  ...require('./message.cjs'),
  ...require('./sdks.cjs'),
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
