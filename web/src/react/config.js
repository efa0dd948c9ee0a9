/** What a provider is told, in any spelling, as one thing. Pure. */

import { configured } from '../agent.js';
import { built } from '../tool.js';
import { wireTool } from '../tools.js';

/** Which agent it is where nobody says. */
export const DEFAULT_AGENT = 'default';

/** @typedef {import('../agent.js').AgentConfig} AgentConfig */
/** @typedef {import('../tools.js').ClientTool} ClientTool */
/** @typedef {import('../tool.js').ToolLike} ToolLike */
/** @typedef {import('../job.js').ToolHandler} ToolHandler */

/**
 * @typedef {object} ChatConfig
 * @property {import('../client.js').GatewayClient} [client] one of the page's own; else one is
 *   shared by all who name the same `url` and `token`
 * @property {string} [url] of the gateway; default: the page's own origin
 * @property {import('../client.js').Token} [token]
 * @property {string} [agent] its name at the gateway
 * @property {Partial<AgentConfig>} [agentConfig] the same and more, as other SDKs have it
 * @property {readonly ToolLike[]} [tools] what this page executes
 * @property {Map<string, (args: any) => unknown>} [clientToolHandlers] more of them, by name
 * @property {string} [session] id of the session to take up, made if it does not exist
 * @property {string} [chatId] the same
 * @property {string} [persist] remember the session of this tab under this name, over reloads
 * @property {Record<string, unknown>} [metadata] of a new session
 * @property {import('../types.js').Detail} [detail]
 */

/**
 * @typedef {object} ChatPlan
 * @property {string | undefined} session
 * @property {string | undefined} persist
 * @property {import('../session.js').SessionOptions} options without tools
 */

/**
 * Everything but the tools.
 * @param {ChatConfig} config
 * @returns {ChatPlan}
 */
export function planOf({ agent, agentConfig = {}, session, chatId, persist, metadata, detail }) {
  const { agent: named, core_app_ref, core_app } = agentConfig;
  const given = configured({
    ...agentConfig,
    agent: agent ?? named ?? core_app_ref ?? core_app?.ref ?? DEFAULT_AGENT,
    session: session ?? chatId ?? agentConfig.session,
    detail: detail ?? agentConfig.detail,
    metadata: metadata ?? agentConfig.metadata,
  });
  const { tools: _, anyTool: __, ...options } = given.options;
  return { session: given.session, persist, options };
}

/**
 * The tools, each with the handler it has now.
 * @param {ChatConfig} config
 * @returns {ClientTool[]}
 */
export function toolsOf({ tools, agentConfig, clientToolHandlers }) {
  const own = (tools ?? agentConfig?.tools ?? []).map(built);
  const more = [...(clientToolHandlers ?? [])].filter(
    ([name]) => !own.some((tool) => tool.name === name && tool.handler),
  );
  const handled = new Map(more);
  return [
    ...own.map((tool) => withHandler(tool, handled.get(tool.name))),
    ...more
      .filter(([name]) => !own.some((tool) => tool.name === name))
      .map(([name, handler]) => withHandler({ name, parameters: { type: 'object' } }, handler)),
  ];
}

/**
 * What the gateway must be told again when it changes.
 * @param {readonly ClientTool[]} tools
 */
export function shapeOf(tools) {
  return JSON.stringify(tools.map((tool) => [wireTool(tool), Boolean(tool.handler)]));
}

/**
 * @param {ClientTool} tool
 * @param {((args: any) => unknown) | undefined} handler
 * @returns {ClientTool}
 */
function withHandler(tool, handler) {
  return handler ? { ...tool, handler: ({ args }) => handler(args) } : tool;
}
