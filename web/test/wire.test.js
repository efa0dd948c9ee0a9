import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wireText } from '../src/wire.js';

test('half a character becomes the replacement character, all else stays', () => {
  const cut = '👍'.slice(0, 1);
  assert.equal(wireText({ a: `so ${cut}`, [cut]: 1 }), '{"a":"so \ufffd","\ufffd":1}');
  for (const whole of ['👍', '\\ud83d', '\\\\ud83d', 'a\\', '\\n\n"', '\\' + '👍']) {
    assert.deepEqual(JSON.parse(wireText({ whole })), { whole });
  }
  assert.deepEqual(JSON.parse(wireText(`\\${cut}\\\\${cut}`)), '\\\ufffd\\\\\ufffd');
});
