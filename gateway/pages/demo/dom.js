/** Making DOM nodes. The only way this page makes them: text is always text, never markup. */

/**
 * @typedef {object} Props
 * @property {string} [class]
 * @property {string} [test] the `data-testid`
 * @property {Record<string, (event: any) => void>} [on] event name -> listener
 * @property {Record<string, string | number | boolean | null | undefined>} [attrs] true: without a
 *   value; false, null: absent
 */

/** @typedef {Node | string | null | undefined | false} Child */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props} [props]
 * @param {Child[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  if (props.class) node.className = props.class;
  if (props.test) node.dataset.testid = props.test;
  attrs(node, props.attrs ?? {});
  for (const [name, listener] of Object.entries(props.on ?? {})) {
    node.addEventListener(name, listener);
  }
  node.append(...present(children));
  return node;
}

/**
 * @param {Element} node
 * @param {NonNullable<Props['attrs']>} values
 */
export function attrs(node, values) {
  for (const [name, value] of Object.entries(values)) {
    if (value === false || value === null || value === undefined) node.removeAttribute(name);
    else if (value === true) node.setAttribute(name, '');
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
  }
}

/**
 * @param {Element} node
 * @param {Child[]} children
 */
export function fill(node, ...children) {
  node.replaceChildren(...present(children));
}

/**
 * Set the text only where it differs, so that selections and screen readers are left in peace.
 * @param {Node} node
 * @param {string} text
 */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * @param {Child[]} children
 * @returns {(Node | string)[]}
 */
function present(children) {
  return /** @type {(Node | string)[]} */ (children.filter((child) => child));
}
