/** Where a gateway's socket is. */

import { GatewayError } from './errors.js';

/**
 * `/v1/ws` of a gateway, where the URL names no path.
 * @param {string} given
 */
export function socketUrl(given) {
  const page = globalThis.location?.href;
  if (!page && !URL.canParse(given)) {
    throw new GatewayError('client.usage', 'Say where the gateway is: {url: "https://…"}.');
  }
  const url = new URL(given, page);
  url.protocol = url.protocol.replace(/^http/, 'ws');
  if (url.pathname === '/') url.pathname = '/v1/ws';
  url.hash = '';
  return url.href;
}
