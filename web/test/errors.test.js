import assert from 'node:assert/strict';
import { test } from 'node:test';

import { GatewayError } from '../src/errors.js';

test('an error frame becomes an error with its code', () => {
  const frame = {
    type: 'error',
    code: 'frame.malformed',
    message: 'No.',
    retryable: false,
    details: { path: '$.content' },
  };
  const error = GatewayError.fromFrame(frame);
  assert.ok(error instanceof Error);
  assert.deepEqual(
    [error.code, error.message, error.retryable, error.details],
    ['frame.malformed', 'No.', false, { path: '$.content' }],
  );
});
