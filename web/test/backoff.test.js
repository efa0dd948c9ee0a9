import assert from 'node:assert/strict';
import { test } from 'node:test';

import { CAP_MS, delay, isFinal, OVERLOADED_MS } from '../src/backoff.js';

test('only 4400 to 4449 are final, known or not', () => {
  for (const code of [4400, 4401, 4409, 4423, 4449]) assert.ok(isFinal(code), String(code));
  for (const code of [1000, 1001, 1006, 1012, 1013, 4399, 4450, 4454, 4458, 4999]) {
    assert.ok(!isFinal(code), String(code));
  }
});

test('the ceiling doubles up to the cap, and the delay is anywhere below it', () => {
  const ceilings = [1, 2, 3, 4, 12].map((attempt) => delay(attempt, 1006, () => 0.999_999_9) + 1);
  assert.deepEqual(ceilings, [500, 1000, 2000, 4000, CAP_MS]);
  assert.equal(
    delay(12, 1006, () => 0),
    0,
  );
});

test('an overloaded gateway is left alone for at least five seconds', () => {
  for (const code of [1013, 4479, 4480]) {
    assert.equal(
      delay(1, code, () => 0),
      OVERLOADED_MS,
    );
  }
});

test('full jitter: every delay is in bounds, and clients that fail together do not come together', () => {
  for (let attempt = 1; attempt <= 40; attempt++) {
    const ceiling = Math.min(CAP_MS, 500 * 2 ** (attempt - 1));
    const seen = new Set();
    let sum = 0;
    for (let client = 0; client < 400; client++) {
      const wait = delay(attempt, 1006, Math.random);
      assert.ok(Number.isInteger(wait) && wait >= 0 && wait < ceiling, `${attempt}: ${wait}`);
      seen.add(wait);
      sum += wait;
    }
    assert.ok(seen.size > 150, `${attempt}: ${seen.size} different delays`);
    assert.ok(Math.abs(sum / 400 / ceiling - 0.5) < 0.15, `${attempt}: mean ${sum / 400}`);
  }
});
