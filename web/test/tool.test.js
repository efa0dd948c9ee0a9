import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  array,
  boolean,
  built,
  enumOf,
  integer,
  number,
  object,
  optional,
  string,
  tool,
} from '../src/tool.js';

test('everything that can be said of a tool', () => {
  const handler = () => 1;
  const made = tool('paint')
    .describe('Paints')
    .param('colour', enumOf(['red', 'blue'], 'Which'))
    .param('alpha', optional(number()))
    .requireApproval()
    .idempotent()
    .timeoutMs(5000)
    .handler(handler)
    .build();
  assert.deepEqual(made, {
    name: 'paint',
    description: 'Paints',
    approval: true,
    idempotent: true,
    timeout_ms: 5000,
    parameters: {
      type: 'object',
      properties: {
        colour: { type: 'string', enum: ['red', 'blue'], description: 'Which' },
        alpha: { type: 'number' },
      },
      required: ['colour'],
    },
    handler,
  });
});

test('parameters of every kind', () => {
  const { parameters } = tool('t', 'd')
    .param('gone', string())
    .input({
      text: string('a text'),
      count: integer(),
      on: boolean(),
      list: array(optional(string())),
      one: enumOf([1, 'a']),
      deep: object({ must: string(), may: optional(string()) }, 'more'),
    })
    .build();
  assert.deepEqual(parameters, {
    type: 'object',
    properties: {
      text: { type: 'string', description: 'a text' },
      count: { type: 'integer' },
      on: { type: 'boolean' },
      list: { type: 'array', items: { type: 'string' } },
      one: { enum: [1, 'a'] },
      deep: {
        type: 'object',
        properties: { must: { type: 'string' }, may: { type: 'string' } },
        required: ['must'],
        description: 'more',
      },
    },
    required: ['text', 'count', 'on', 'list', 'one', 'deep'],
  });
});

test('a builder is never changed, and is as good as what it builds', () => {
  const plain = tool('t');
  plain.describe('other').requireApproval();
  assert.deepEqual(plain.build(), {
    name: 't',
    parameters: { type: 'object', properties: {} },
  });
  assert.deepEqual(built(plain), plain.build());
  const ready = plain.build();
  assert.equal(built(ready), ready);
  assert.equal(plain.name, 't');
});
