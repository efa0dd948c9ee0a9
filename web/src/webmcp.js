/**
 * The tools that a page registers with the browser (WebMCP), offered to an agent as well.
 *
 * The interface is a draft (webmachinelearning.github.io/webmcp), and browsers differ in how they
 * take arguments and give schemas: where one says text and the other an object, both are taken.
 */

import { built } from './tool.js';

/** @typedef {import('./tools.js').ClientTool} ClientTool */
/** @typedef {import('./session.js').Session} Session */

/**
 * Offer the page's tools to the session's agent, beside the session's own, and keep them up to
 * date as the page registers and removes tools. Without effect where the browser has no WebMCP.
 * @param {Session} session one that is created or open
 * @param {any} [scope] the global object
 * @returns {Promise<() => void>} stops following the changes
 */
export async function offerPageTools(session, scope = globalThis) {
  const context = contextOf(scope);
  if (!context) return () => {};
  const own = (session.options.tools ?? []).map(built);
  const names = new Set(own.map(({ name }) => name));
  let offered = '';
  const offer = async () => {
    const tools = (await pageTools(scope)).filter(({ name }) => !names.has(name));
    const now = JSON.stringify(tools);
    if (now === offered || session.status === 'closed') return;
    offered = now;
    await session.useTools([...own, ...tools]);
  };
  const changed = () => void offer().catch(() => {});
  context.addEventListener?.('toolchange', changed);
  await offer();
  return () => context.removeEventListener?.('toolchange', changed);
}

/**
 * The tools that the page has registered, as tools of this client.
 * @param {any} [scope] the global object
 * @returns {Promise<ClientTool[]>}
 */
export async function pageTools(scope = globalThis) {
  const context = contextOf(scope);
  /** @type {any[]} */
  const tools = context ? await context.getTools() : [];
  return tools.map((tool) => ({
    name: tool.name,
    ...(tool.description ? { description: tool.description } : {}),
    parameters: schemaOf(tool.inputSchema),
    ...(tool.annotations?.readOnlyHint ? { idempotent: true } : {}),
    ...(tool.annotations?.consequentialHint ? { approval: true } : {}),
    handler: async ({ args, signal }) =>
      parsed(await context.executeTool(tool, eitherWay(args ?? {}), { signal })),
  }));
}

/** @param {any} scope */
function contextOf(scope) {
  const context = scope.document?.modelContext ?? scope.navigator?.modelContext;
  return typeof context?.getTools === 'function' ? context : undefined;
}

/**
 * @param {unknown} given an object or its JSON
 * @returns {Record<string, unknown>}
 */
function schemaOf(given) {
  const schema = typeof given === 'string' ? parsed(given) : given;
  return schema && typeof schema === 'object' ? { ...schema } : { type: 'object', properties: {} };
}

/**
 * Arguments that are an object, and become their JSON where a text is wanted.
 * @param {Record<string, unknown>} args
 */
function eitherWay(args) {
  const text = JSON.stringify(args);
  return Object.defineProperty({ ...args }, 'toString', { value: () => text });
}

/**
 * @param {unknown} result any value; of a text the value it stands for, if it is JSON
 */
function parsed(result) {
  if (typeof result !== 'string') return result;
  try {
    return JSON.parse(result);
  } catch {
    return result;
  }
}
