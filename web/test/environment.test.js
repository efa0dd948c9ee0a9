import assert from 'node:assert/strict';
import { test } from 'node:test';

import { watchEnvironment } from '../src/environment.js';

function page() {
  const scope = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: 'hidden' });
  return Object.assign(scope, { document });
}

test('events of the page become hints, until it stops', () => {
  const scope = page();
  /** @type {any[]} */
  const hints = [];
  const stop = watchEnvironment((hint) => hints.push(hint), scope);
  scope.dispatchEvent(new Event('offline'));
  scope.dispatchEvent(new Event('online'));
  scope.document.dispatchEvent(new Event('visibilitychange'));
  scope.document.visibilityState = 'visible';
  scope.document.dispatchEvent(new Event('visibilitychange'));
  scope.dispatchEvent(new Event('pageshow'));
  scope.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true }));
  const seen = [
    { type: 'online', online: false },
    { type: 'online', online: true },
    { type: 'hint' },
    { type: 'hint' },
  ];
  assert.deepEqual(hints, seen);
  stop();
  scope.dispatchEvent(new Event('online'));
  assert.deepEqual(hints, seen);
});

test('outside a browser there is nothing to watch', () => {
  watchEnvironment(() => assert.fail('a hint'), {})();
});
