/** The person's sessions, newest first, to open again. */

import { attrs, h, write } from './dom.js';
import { keyed } from './keyed.js';

const LIMIT = 50;
const UNITS = /** @type {[Intl.RelativeTimeFormatUnit, number][]} */ ([
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
]);

/** @typedef {{session: string, agent: string, metadata: Record<string, any>, status: string, updated: string}} Entry */

/**
 * @param {object} options
 * @param {import('/client/client.js').GatewayClient} options.client
 * @param {HTMLElement} options.node
 * @param {(session: string) => void} options.open
 * @param {() => Set<string>} options.shown
 */
export function shelf({ client, node, open, shown }) {
  const list = h('ul', { class: 'shelf-list' });
  const empty = h('p', { class: 'shelf-empty' }, 'Nothing here yet.');
  node.append(list, empty);
  /** @type {Entry[]} */
  let entries = [];
  let asking = false;
  const show = keyed(
    list,
    ({ session }) => session,
    (/** @type {Entry} */ entry) => entryView(entry, open, shown),
  );

  function render() {
    show(entries);
    empty.hidden = entries.length > 0;
  }

  async function refresh() {
    if (asking || client.status !== 'open') return;
    asking = true;
    try {
      const { sessions } = await client.list({ limit: LIMIT });
      entries = sessions;
      render();
    } catch (error) {
      write(empty, error instanceof Error ? error.message : String(error));
      empty.hidden = false;
    } finally {
      asking = false;
    }
  }
  return { refresh, render };
}

/**
 * @param {Entry} entry
 * @param {(session: string) => void} open
 * @param {() => Set<string>} shown
 * @returns {import('./keyed.js').View<Entry>}
 */
function entryView({ session }, open, shown) {
  const title = h('span', { class: 'shelf-title' });
  const about = h('span', { class: 'shelf-about' });
  const button = h(
    'button',
    {
      class: 'shelf-item',
      test: 'session-item',
      attrs: { type: 'button', 'data-session': session },
      on: { click: () => open(session) },
    },
    title,
    about,
  );
  return {
    node: h('li', {}, button),
    update({ metadata, agent, status, updated }) {
      write(title, String(metadata.title ?? 'Untitled'));
      write(about, `${agent} · ${ago(updated)}`);
      attrs(button, {
        'aria-current': shown().has(session) ? 'true' : null,
        'data-status': status,
      });
    },
  };
}

/** @param {string} time */
function ago(time) {
  const passed = Date.now() - Date.parse(time);
  const format = new Intl.RelativeTimeFormat('en', {
    numeric: 'auto',
    style: 'short',
  });
  for (const [unit, ms] of UNITS) {
    if (passed >= ms) return format.format(-Math.floor(passed / ms), unit);
  }
  return 'just now';
}
