/** A page of the smallest kind: one session, one tool that tells the test what it does. */

import { GatewayClient } from '/client/index.js';

const query = new URLSearchParams(location.search);
const client = new GatewayClient({ app: { name: 'tab', version: '1' } });

/** @type {() => void} */
let release = () => {};
const released = new Promise((resolve) => {
  release = () => resolve(undefined);
});

/** @type {import('/client/tools.js').ClientTool} */
const work = {
  name: 'work',
  parameters: { type: 'object' },
  idempotent: query.get('idempotent') === 'true',
  lease_ms: Number(query.get('lease_ms')),
  async handler({ args, signal }) {
    const aborted = () => report('aborted', client.id);
    signal.addEventListener('abort', aborted);
    await report('began', client.id);
    if (args?.hold) await released;
    signal.removeEventListener('abort', aborted);
    await report('ended', client.id);
    return { tab: client.id };
  },
};

/**
 * Tell the test.
 * @param {string} what
 * @param {string} tab
 */
function report(what, tab) {
  return /** @type {any} */ (window).heard(what, tab);
}

const session = client.session(query.get('session') ?? undefined, {
  agent: 'scripted',
  tools: query.get('tool') === 'true' ? [work] : [],
});
/** @type {[string, number, number][]} every event: type, first and last seq */
const seen = [];
session.onEvent(({ type, seq, from_seq }) => seen.push([type, from_seq ?? seq, seq]));
Object.assign(window, { tab: { client, session, seen, release } });
client.connect();
if (query.get('create') === 'true') void session.create();
else session.open();
