/** A list of views that follows a list of items: made once per key, updated, moved, removed. */

/**
 * @template T
 * @typedef {{node: HTMLElement, update: (item: T) => void}} View
 */

/**
 * @template T
 * @param {HTMLElement} container
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => View<T>} make
 * @returns {(items: readonly T[]) => void}
 */
export function keyed(container, keyOf, make) {
  /** @type {Map<string, View<T>>} */
  const views = new Map();
  return (items) => {
    const keys = new Set(items.map(keyOf));
    for (const [key, view] of views) {
      if (keys.has(key)) continue;
      view.node.remove();
      views.delete(key);
    }
    /** @type {ChildNode | null} */
    let place = container.firstChild;
    for (const item of items) {
      const key = keyOf(item);
      const view = views.get(key) ?? make(item);
      views.set(key, view);
      view.update(item);
      if (view.node === place) place = place.nextSibling;
      else container.insertBefore(view.node, place);
    }
  };
}
