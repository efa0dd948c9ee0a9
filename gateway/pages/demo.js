/** The demo page: many sessions side by side over one WebSocket. Puts its parts together. */

import { GatewayClient } from '/client/index.js';

import { badge } from './demo/badge.js';
import { deck } from './demo/deck.js';
import { shelf } from './demo/shelf.js';
import { themeToggle } from './demo/theme.js';
import { pageTools } from './demo/tools.js';

const REFRESH_MS = 800;

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @returns {T}
 */
function byId(id) {
  return /** @type {T} */ (document.getElementById(id));
}

const client = new GatewayClient({ app: { name: 'demo', version: '0.1.0' } });
// For the curious: the console can do what the page does.
Object.assign(window, { gateway: client });

const connection = badge(client);
byId('badge').replaceWith(connection.node);
themeToggle(byId('theme'));

const drawer = byId('drawer');
const drawerButton = byId('drawer-button');
const narrow = matchMedia('(max-width: 820px)');

/** @param {boolean} open */
function toggleDrawer(open) {
  drawer.hidden = !open;
  drawerButton.setAttribute('aria-expanded', String(open));
  if (open) void sessions.refresh();
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let refreshing;

function changed() {
  connection.update();
  sessions.render();
  // Titles and sessions change in bursts while something streams: one look after each.
  refreshing ??= setTimeout(() => {
    refreshing = undefined;
    if (!drawer.hidden) void sessions.refresh();
  }, REFRESH_MS);
}

const panes = deck({
  client,
  tools: pageTools,
  node: byId('deck'),
  tabs: byId('tabs'),
  onChange: changed,
});
const sessions = shelf({
  client,
  node: byId('shelf'),
  shown: panes.shown,
  open(session) {
    panes.open(session);
    if (narrow.matches) toggleDrawer(false);
  },
});

byId('new-session').addEventListener('click', () => {
  panes.open();
  if (narrow.matches) toggleDrawer(false);
});
byId('deck').addEventListener('click', () => {
  if (narrow.matches) toggleDrawer(false);
});
drawer.addEventListener('keydown', ({ key }) => {
  if (key !== 'Escape' || !narrow.matches) return;
  toggleDrawer(false);
  drawerButton.focus();
});
drawerButton.addEventListener('click', () => toggleDrawer(Boolean(drawer.hidden)));
client.onStatus(({ status }) => {
  document.body.dataset.connection = status;
  if (status === 'open' && !drawer.hidden) void sessions.refresh();
});
client.connect();
panes.restore();
toggleDrawer(!narrow.matches);
