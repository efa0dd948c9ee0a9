import assert from 'node:assert/strict';
import { test } from 'node:test';

import { weigh } from '../../scripts/size.js';

const CORE = "import * as core from './index.js';";
const REACT = "import * as react from './react/index.js';";

test('the bindings with the component weigh less than 15.5 kB more than the client', async (t) => {
  const client = await weigh(`${CORE} export { core }`);
  const both = await weigh(`${CORE} ${REACT} export { core, react }`, ['react']);
  t.diagnostic(`${both - client} bytes more than ${client}`);
  assert.ok(both - client < 15_500, `${both - client} bytes`);
});
