/** The public names of the package; everything else may change between versions. */

export { GatewayClient, SUBPROTOCOL } from './client.js';
export { Connection } from './connection.js';
export { GatewayError } from './errors.js';
export { Session } from './session.js';
export { apply, emptyState, fold } from './state.js';
export { Subscription } from './subscription.js';
