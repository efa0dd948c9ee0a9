/**
 * Tools of the page, said in a few words:
 *
 *     tool('scan_ui', 'Scans the page')
 *       .param('selector', string('CSS selector'))
 *       .handler(({ args }) => document.querySelectorAll(args.selector).length)
 *
 * A builder is never changed: every method gives another one. It may be used wherever a tool is
 * expected, so `.build()` is optional.
 */

/** @typedef {import('./types.js').Tool} Tool */
/** @typedef {import('./job.js').ToolHandler} ToolHandler */
/** @typedef {import('./tools.js').ClientTool} ClientTool */

/** @typedef {{[keyword: string]: unknown, optional?: boolean}} Schema JSON Schema of one parameter */

/** @type {(type: string) => (description?: string) => Schema} */
const simple = (type) => (description) => described({ type }, description);

/** A text. */
export const string = simple('string');
/** A number. */
export const number = simple('number');
/** A whole number. */
export const integer = simple('integer');
/** Yes or no. */
export const boolean = simple('boolean');

/**
 * One of these values.
 * @param {readonly unknown[]} values
 * @param {string} [description]
 * @returns {Schema}
 */
export function enumOf(values, description) {
  const texts = values.every((value) => typeof value === 'string');
  return described({ ...(texts ? { type: 'string' } : {}), enum: [...values] }, description);
}

/**
 * A list.
 * @param {Schema} items
 * @param {string} [description]
 * @returns {Schema}
 */
export function array(items, description) {
  return described({ type: 'array', items: plain(items) }, description);
}

/**
 * An object with these members.
 * @param {Record<string, Schema>} properties
 * @param {string} [description]
 * @returns {Schema}
 */
export function object(properties, description) {
  return described(members(properties), description);
}

/**
 * The same, but it may be left out.
 * @param {Schema} schema
 * @returns {Schema}
 */
export function optional(schema) {
  return { ...schema, optional: true };
}

/**
 * Begin a tool.
 * @param {string} name
 * @param {string} [description]
 */
export function tool(name, description) {
  return new ToolBuilder({ name, ...(description ? { description } : {}) }, {});
}

/** What is said of a tool so far. */
export class ToolBuilder {
  #spec;
  #params;
  #handler;

  /**
   * @param {Omit<Tool, 'parameters'>} spec
   * @param {Record<string, Schema>} params
   * @param {ToolHandler} [handler]
   */
  constructor(spec, params, handler) {
    this.#spec = spec;
    this.#params = params;
    this.#handler = handler;
  }

  get name() {
    return this.#spec.name;
  }

  /**
   * What it does, for the model.
   * @param {string} description
   */
  describe(description) {
    return this.#with({ description });
  }

  /**
   * One more parameter.
   * @param {string} name
   * @param {Schema} schema
   */
  param(name, schema) {
    return new ToolBuilder(this.#spec, { ...this.#params, [name]: schema }, this.#handler);
  }

  /**
   * All parameters at once.
   * @param {Record<string, Schema>} params
   */
  input(params) {
    return new ToolBuilder(this.#spec, { ...params }, this.#handler);
  }

  /** A person must agree to every call. */
  requireApproval() {
    return this.#with({ approval: true });
  }

  /** Twice does no harm: another tab may take over a call whose holder vanished. */
  idempotent() {
    return this.#with({ idempotent: true });
  }

  /**
   * How long a call may take in all.
   * @param {number} timeout_ms
   */
  timeoutMs(timeout_ms) {
    return this.#with({ timeout_ms });
  }

  /**
   * The function. It gets `{args, signal, progress, attach}`, and the arguments themselves as
   * well, so `({ selector }) => …` does; it returns, or resolves with, any JSON.
   * @param {ToolHandler} handler
   */
  handler(handler) {
    return new ToolBuilder(this.#spec, this.#params, handler);
  }

  /**
   * The tool as said so far; without a handler it is answered by `submitToolResult`.
   * @returns {ClientTool}
   */
  build() {
    const built = { ...this.#spec, parameters: members(this.#params) };
    return this.#handler ? { ...built, handler: this.#handler } : built;
  }

  /** @param {Partial<Tool>} fields */
  #with(fields) {
    return new ToolBuilder({ ...this.#spec, ...fields }, this.#params, this.#handler);
  }
}

/** @typedef {ClientTool | ToolBuilder} ToolLike */

/**
 * @param {ToolLike} tool
 * @returns {ClientTool}
 */
export function built(tool) {
  return tool instanceof ToolBuilder ? tool.build() : tool;
}

/**
 * @param {Schema} schema
 * @param {string} [description]
 * @returns {Schema}
 */
function described(schema, description) {
  return description ? { ...schema, description } : schema;
}

/** @param {Schema} schema */
function plain({ optional: _, ...schema }) {
  return schema;
}

/** @param {Record<string, Schema>} properties */
function members(properties) {
  const entries = Object.entries(properties);
  const required = entries.flatMap(([name, schema]) => (schema.optional ? [] : [name]));
  return {
    type: 'object',
    properties: Object.fromEntries(entries.map(([name, schema]) => [name, plain(schema)])),
    ...(required.length ? { required } : {}),
  };
}
