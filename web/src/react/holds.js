/**
 * Clients and sessions that several components of a page share: one socket per gateway and token,
 * one handle per session.
 *
 * What nobody holds any more is closed a little later, so that what is taken down and put up
 * again, as React does, loses nothing.
 */

import { GatewayClient } from '../client.js';

const LINGER_MS = 1_000;

/** @typedef {import('../session.js').Session} Session */
/** @typedef {import('../client.js').Token} Token */

/**
 * @template T
 * @typedef {{value: T, holders: number, timer: any}} Entry
 */

export class Holds {
  /** @type {{url: string, token: Token | undefined, entry: Entry<GatewayClient>}[]} */
  #clients = [];
  /** @type {WeakMap<GatewayClient, Map<string, Entry<Session>>>} */
  #sessions = new WeakMap();

  /**
   * The client of a gateway; not connected before somebody holds it.
   * @param {string} [url]
   * @param {Token} [token] the same function is the same token
   */
  client(url = '/', token) {
    return this.#entry(url, token).value;
  }

  /**
   * Connect it, and keep it until released.
   * @param {string} [url]
   * @param {Token} [token]
   * @returns {() => void} releases it
   */
  holdClient(url = '/', token) {
    const entry = this.#entry(url, token);
    entry.value.connect();
    return this.#hold(entry);
  }

  /**
   * Keep a client that is shared until released; others are their owners'.
   * @param {GatewayClient} client
   * @returns {() => void} releases it
   */
  keepClient(client) {
    const known = this.#clients.find(({ entry }) => entry.value === client);
    if (!known) return () => {};
    if (!known.entry.holders) client.connect();
    return this.#hold(known.entry);
  }

  /**
   * The handle of a session, kept until released.
   * @param {GatewayClient} client
   * @param {string} id
   * @param {import('../session.js').SessionOptions} options of whoever is first
   * @returns {{session: Session, release: () => void}}
   */
  holdSession(client, id, options) {
    const entries = this.#sessions.get(client) ?? new Map();
    this.#sessions.set(client, entries);
    const known = entries.get(id);
    const entry =
      known && known.value.status !== 'closed'
        ? known
        : { value: client.session(id, options), holders: 0, timer: null };
    entries.set(id, entry);
    const release = hold(entry, () => {
      entry.value.close();
      if (entries.get(id) === entry) entries.delete(id);
    });
    return { session: entry.value, release };
  }

  /** @param {Entry<GatewayClient>} entry */
  #hold(entry) {
    return hold(entry, () => {
      entry.value.close();
      this.#clients = this.#clients.filter((one) => one.entry !== entry);
    });
  }

  /**
   * @param {string} url
   * @param {Token | undefined} token
   */
  #entry(url, token) {
    const known = this.#clients.find((one) => one.url === url && one.token === token);
    if (known) return known.entry;
    const entry = { value: new GatewayClient({ url, token }), holders: 0, timer: null };
    this.#clients.push({ url, token, entry });
    return entry;
  }
}

/**
 * @template T
 * @param {Entry<T>} entry
 * @param {() => void} end
 * @returns {() => void}
 */
function hold(entry, end) {
  let held = true;
  entry.holders += 1;
  clearTimeout(entry.timer);
  return () => {
    if (!held) return;
    held = false;
    entry.holders -= 1;
    if (!entry.holders) entry.timer = setTimeout(end, LINGER_MS);
  };
}
