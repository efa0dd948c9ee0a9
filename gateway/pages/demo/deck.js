/** The panes side by side, or on a phone one at a time behind tabs; remembers them on reload. */

import { attrs, h, write } from './dom.js';
import { keyed } from './keyed.js';
import { Pane } from './pane.js';

const KEY = 'agent-gateway.panes';

/**
 * @param {object} options
 * @param {import('/client/client.js').GatewayClient} options.client
 * @param {readonly import('/client/tools.js').ClientTool[]} options.tools
 * @param {HTMLElement} options.node
 * @param {HTMLElement} options.tabs
 * @param {() => void} options.onChange
 */
export function deck({ client, tools, node, tabs, onChange }) {
  /** @type {Pane[]} */
  let panes = [];
  /** @type {Pane | null} */
  let active = null;
  const showTabs = keyed(
    tabs,
    ({ key }) => key,
    (/** @type {Pane} */ pane) =>
      tabView(
        pane,
        () => activate(pane),
        (one) => one === active,
      ),
  );

  /** @param {string} [session] */
  function open(session) {
    const known = panes.find((pane) => session && pane.session?.id === session);
    if (known) return activate(known);
    const pane = new Pane({
      client,
      tools,
      session,
      onClose: closed,
      onChange: changed,
    });
    panes = [...panes, pane];
    node.append(pane.node);
    activate(pane);
  }

  /** @param {Pane} pane */
  function activate(pane) {
    active = pane;
    changed();
    pane.node.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    pane.focus();
  }

  /** @param {Pane} pane */
  function closed(pane) {
    panes = panes.filter((other) => other !== pane);
    if (active === pane) active = panes.at(-1) ?? null;
    if (!panes.length) open();
    changed();
  }

  function changed() {
    for (const pane of panes) pane.node.classList.toggle('active', pane === active);
    showTabs(panes);
    attrs(node, { 'data-count': panes.length });
    const ids = panes.flatMap((pane) => (pane.session ? [pane.session.id] : []));
    sessionStorage.setItem(KEY, JSON.stringify(ids));
    onChange();
  }

  function restore() {
    const ids = JSON.parse(sessionStorage.getItem(KEY) ?? '[]');
    for (const id of ids) open(id);
    if (!ids.length) open();
  }

  node.addEventListener('focusin', ({ target }) => {
    const pane = panes.find((one) => one.node.contains(/** @type {Node} */ (target)));
    if (!pane || pane === active) return;
    active = pane;
    changed();
  });
  return { open, restore, shown: () => new Set(panes.map((pane) => pane.key)) };
}

/**
 * @param {Pane} pane
 * @param {() => void} choose
 * @param {(pane: Pane) => boolean} isActive
 * @returns {import('./keyed.js').View<Pane>}
 */
function tabView(pane, choose, isActive) {
  const title = h('span', { class: 'tab-title' });
  const dot = h('span', { class: 'tab-dot' });
  const node = h(
    'button',
    {
      class: 'tab',
      test: 'tab',
      attrs: { type: 'button' },
      on: { click: choose },
    },
    dot,
    title,
  );
  return {
    node,
    update() {
      write(title, pane.title);
      attrs(node, {
        'aria-pressed': String(isActive(pane)),
        'data-live': `${pane.live}`,
      });
    },
  };
}
