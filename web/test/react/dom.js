/** As much of a document as React needs to put components up and take them down. */

const HTML = 'http://www.w3.org/1999/xhtml';

class Node {
  nodeType = 1;
  /** @type {Node[]} */
  childNodes = [];
  /** @type {Node | null} */
  parentNode = null;
  style = {};
  namespaceURI = HTML;
  #text = '';

  /** @param {string} name */
  constructor(name) {
    this.nodeName = this.tagName = name.toUpperCase();
  }

  get ownerDocument() {
    return document;
  }

  /** @returns {Node | null} */
  get firstChild() {
    return this.childNodes[0] ?? null;
  }

  /** @returns {Node | null} */
  get lastChild() {
    return this.childNodes.at(-1) ?? null;
  }

  get textContent() {
    return this.#text;
  }

  set textContent(text) {
    this.#text = text;
    this.childNodes = [];
  }

  /** @param {Node} node */
  appendChild(node) {
    this.insertBefore(node);
  }

  /** @param {Node} node @param {Node} [next] */
  insertBefore(node, next) {
    node.parentNode?.removeChild(node);
    const index = next ? this.childNodes.indexOf(next) : this.childNodes.length;
    this.childNodes.splice(index, 0, node);
    node.parentNode = this;
  }

  /** @param {Node} node */
  removeChild(node) {
    this.childNodes = this.childNodes.filter((one) => one !== node);
    node.parentNode = null;
  }

  closest() {
    return null;
  }

  setAttribute() {}
  removeAttribute() {}
  addEventListener() {}
  removeEventListener() {}
}

/** The globals that React looks for; before `react-dom/client` is imported. */
export function pretendDocument() {
  const page = new Node('#document');
  const more = {
    nodeType: 9,
    activeElement: null,
    createElement: (/** @type {string} */ name) => new Node(name),
    createElementNS: (/** @type {string} */ _, /** @type {string} */ name) => new Node(name),
    createTextNode(/** @type {string} */ text) {
      return Object.assign(new Node('#text'), { nodeType: 3, nodeValue: text, textContent: text });
    },
  };
  class HTMLIFrameElement {}
  // Within a frame React does not look for its developer tools.
  const window = { document: Object.assign(page, more), HTMLIFrameElement, top: {}, self: {} };
  Object.assign(page, { defaultView: window });
  const matchMedia = () => ({ matches: true });
  Object.assign(globalThis, { document: page, window, matchMedia, IS_REACT_ACT_ENVIRONMENT: true });
}

/** @returns {any} */
export function container() {
  return new Node('div');
}

/**
 * All elements of a name, in order.
 * @param {any} node
 * @param {string} name
 * @returns {any[]}
 */
export function elements(node, name) {
  const below = node.childNodes.flatMap((/** @type {any} */ child) => elements(child, name));
  return node.tagName === name.toUpperCase() ? [node, ...below] : below;
}

/**
 * The properties that React gave an element, its handlers among them.
 * @param {any} node
 */
export function propsOf(node) {
  return node[Object.keys(node).find((key) => key.startsWith('__reactProps$')) ?? ''];
}
