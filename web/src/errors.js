/** What a refused command or a refused connection becomes on the client's side. */

export class GatewayError extends Error {
  /**
   * @param {string} code a code of the protocol, or `client.…` for one made here
   * @param {string} message
   * @param {{retryable?: boolean, details?: Record<string, unknown>}} [more]
   */
  constructor(code, message, more = {}) {
    super(message);
    this.name = 'GatewayError';
    this.code = code;
    this.retryable = more.retryable ?? false;
    this.details = more.details ?? {};
  }

  /**
   * The error of an `error` frame.
   * @param {import('./types.js').AnyFrame} frame
   */
  static fromFrame(frame) {
    return new GatewayError(frame.code, frame.message, {
      retryable: frame.retryable,
      details: frame.details,
    });
  }
}
