import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createElement as h, StrictMode } from 'react';
import { renderToString } from 'react-dom/server';

import {
  AgentChat,
  AgentChatProvider,
  useAgentActions,
  useAgentChat,
  useRun,
} from '../../src/react/index.js';

test('a server draws an empty chat and opens nothing', () => {
  const chat = h(AgentChat, { agent: 'echo', title: 'Helper', suggestions: ['Hi'] });
  const html = renderToString(h(StrictMode, null, chat));
  assert.match(html, /<h2[^>]*>Helper<\/h2>/);
  assert.match(html, /How can I help\?/);
  assert.match(html, /<textarea[^>]*aria-label="Message"/);
});

test('hooks outside of a provider say what is missing', () => {
  const Lost = () => h('p', null, useAgentChat().status);
  assert.throws(() => renderToString(h(Lost)), /AgentChatProvider/);
});

test('hooks on a server tell of nothing yet', () => {
  function Within() {
    const { status, messages } = useAgentChat();
    const { status: run } = useRun({ app: 'echo', input: 'x' });
    return h(
      'p',
      null,
      [status, messages.length, typeof useAgentActions().sendMessage, run].join(),
    );
  }
  const html = renderToString(h(AgentChatProvider, { agent: 'echo' }, h(Within)));
  assert.equal(html, '<p>idle,0,function,idle</p>');
});
