/** Values that wait for their reader, as an async iterator: what is not read yet may be changed. */

/**
 * @template T
 * @implements {AsyncIterableIterator<T>}
 */
export class Mailbox {
  /** @type {T[]} not read yet */
  items = [];
  over = false;
  /** @type {unknown} */
  #error = undefined;
  /** @type {{resolve: (result: IteratorResult<T>) => void, reject: (error: unknown) => void}[]} */
  #readers = [];
  /** @type {() => void} */
  #leave;

  /** @param {() => void} [leave] called once, when it is over */
  constructor(leave = () => {}) {
    this.#leave = leave;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** How many wait to be read. */
  get backlog() {
    return this.items.length;
  }

  /** @returns {Promise<IteratorResult<T>>} */
  next() {
    return new Promise((resolve, reject) => {
      this.#readers.push({ resolve, reject });
      this.#serve();
    });
  }

  /**
   * Nobody reads any more.
   * @returns {Promise<IteratorResult<T>>}
   */
  return() {
    this.abort();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** @param {T} value */
  add(value) {
    if (this.over) return;
    this.items.push(value);
    this.#serve();
  }

  /**
   * Nothing comes after what waits.
   * @param {unknown} [error]
   */
  end(error) {
    if (this.over) return;
    this.over = true;
    this.#error = error;
    this.#leave();
    this.#serve();
  }

  /**
   * Nothing comes any more, not even what waits.
   * @param {unknown} [reason]
   */
  abort(reason) {
    this.items = [];
    this.end(reason);
  }

  #serve() {
    while (this.#readers.length && (this.items.length || this.over)) {
      const { resolve, reject } = /** @type {any} */ (this.#readers.shift());
      if (this.items.length) resolve({ done: false, value: this.items.shift() });
      else if (this.#error === undefined) resolve({ done: true, value: undefined });
      else {
        reject(this.#error);
        this.#error = undefined;
      }
    }
  }
}
