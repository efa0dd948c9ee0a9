/**
 * What the browser says about the network and the tab, as inputs of the connection.
 *
 * Only hints: a browser that says "online" may have no route, so each leads to a probe or an
 * earlier try, never to a verdict. In Node there is nothing to listen to.
 */

/** @typedef {{type: 'online', online: boolean} | {type: 'hint'}} Hint */

/**
 * @param {(hint: Hint) => void} report
 * @param {any} [scope] the global object
 * @returns {() => void} stops listening
 */
export function watchEnvironment(report, scope = globalThis) {
  if (typeof scope.addEventListener !== 'function') return () => {};
  const online = () => report({ type: 'online', online: true });
  const offline = () => report({ type: 'online', online: false });
  const visible = () => {
    if (scope.document?.visibilityState === 'visible') report({ type: 'hint' });
  };
  /** @param {{persisted?: boolean}} event */
  const shown = (event) => {
    // Back from the back/forward cache: the socket was closed without a word.
    if (event.persisted) report({ type: 'hint' });
  };
  scope.addEventListener('online', online);
  scope.addEventListener('offline', offline);
  scope.addEventListener('pageshow', shown);
  scope.document?.addEventListener('visibilitychange', visible);
  return () => {
    scope.removeEventListener('online', online);
    scope.removeEventListener('offline', offline);
    scope.removeEventListener('pageshow', shown);
    scope.document?.removeEventListener('visibilitychange', visible);
  };
}
