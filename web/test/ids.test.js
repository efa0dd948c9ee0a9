import assert from 'node:assert/strict';
import { test } from 'node:test';

import { makeId } from '../src/ids.js';

test('ids are of the alphabet of the wire, and differ', () => {
  const ids = Array.from({ length: 1000 }, () => makeId('k'));
  for (const id of ids) assert.match(id, /^k_[A-Za-z0-9_-]{21}$/);
  assert.equal(new Set(ids).size, ids.length);
});
