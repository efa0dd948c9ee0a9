/** The public names of the package; everything else may change between versions. */

export { Agent } from './agent.js';
export { createClient, GatewayClient, SUBPROTOCOL } from './client.js';
export { Connection } from './connection.js';
export { GatewayError } from './errors.js';
export { RunStream } from './run.js';
export { Session } from './session.js';
export { apply, emptyState, fold } from './state.js';
export { StreamManager } from './stream_manager.js';
export { Subscription } from './subscription.js';
export {
  array,
  boolean,
  enumOf,
  integer,
  number,
  object,
  optional,
  string,
  tool,
  ToolBuilder,
} from './tool.js';
export { offerPageTools } from './webmcp.js';
export { textOf } from './whole.js';
