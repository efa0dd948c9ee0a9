/** A socket to a gateway that the test plays by hand. */
export class Line {
  /** @type {Line[]} */
  static all = [];
  /** @type {any} */
  onopen = null;
  /** @type {any} */
  onmessage = null;
  /** @type {any} */
  onclose = null;
  /** @type {any[]} */
  heard = [];
  closed = false;

  /** @param {string} url */
  constructor(url) {
    this.url = url;
    Line.all.push(this);
  }

  /** @param {string} text */
  send(text) {
    this.heard.push(...text.split('\n').map((line) => JSON.parse(line)));
  }

  close() {
    this.closed = true;
  }

  /** @param {any[]} frames */
  say(...frames) {
    this.onmessage({ data: frames.map((frame) => JSON.stringify(frame)).join('\n') });
  }

  /** @param {string} type */
  last(type) {
    return this.heard.findLast((frame) => frame.type === type);
  }

  /** @param {string} type */
  all(type) {
    return this.heard.filter((frame) => frame.type === type);
  }
}

/**
 * The newest line, or another one, open and welcomed.
 * @param {import('../../src/client.js').GatewayClient | null} client
 * @param {Line} [line]
 */
export function welcomed(client, line = /** @type {Line} */ (Line.all.at(-1))) {
  line.onopen();
  const id = client?.id ?? line.last('hello').client;
  line.say({ type: 'welcome', client: id, limits: {}, features: [], heartbeat_ms: 25_000 });
  return line;
}
