/** The connection badge: the status, the one socket with its sessions, the next try. */

import { attrs, h, write } from './dom.js';

const LABELS = {
  connecting: 'Connecting',
  open: 'Connected',
  resuming: 'Reconnecting',
  offline: 'Offline',
  closed: 'Closed',
};

/**
 * @param {import('/client/client.js').GatewayClient} client
 * @returns {{node: HTMLElement, update: () => void}}
 */
export function badge(client) {
  const label = h('span', { class: 'badge-label', attrs: { role: 'status' } });
  const detail = h('span', { class: 'badge-detail' });
  const node = h(
    'button',
    {
      class: 'badge',
      test: 'badge',
      attrs: { type: 'button', title: 'Connection' },
      on: {
        click: () => (client.status === 'closed' ? client.connect() : client.retry()),
      },
    },
    h('span', { class: 'badge-dot' }),
    h('span', { class: 'badge-text' }, label, detail),
  );

  function update() {
    const { status } = client;
    attrs(node, { 'data-status': status });
    write(label, LABELS[status]);
    write(detail, detailOf());
  }

  function detailOf() {
    const { retryInMs, connection, sessions } = client;
    if (client.status === 'closed') return connection.reason || 'click to connect';
    if (retryInMs !== null) return `again in ${Math.ceil(retryInMs / 1000)} s · try now`;
    const count = [...sessions.values()].filter(({ status }) => status === 'open').length;
    const noun = count === 1 ? 'session' : 'sessions';
    return client.status === 'open' ? `1 socket · ${count} ${noun}` : 'one moment';
  }

  client.onStatus(update);
  setInterval(() => {
    if (client.retryInMs !== null) update();
  }, 250);
  update();
  return { node, update };
}
