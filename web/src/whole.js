/**
 * Whole messages: what a message says so far, so that nobody has to join pieces. Pure.
 */

/** @typedef {import('./types.js').Message} Message */
/** @typedef {'text' | 'commentary' | 'thinking'} Kind */

/**
 * @typedef {Message & {text: string, done: boolean}} WholeMessage `text` is the answer so far,
 *   without commentary and thinking; `done`: it will not change any more
 */

/**
 * What `onMessage` hears: one kind of a message's text, whole.
 * @typedef {object} MessageUpdate
 * @property {string} id
 * @property {Message['role']} role
 * @property {Kind} type
 * @property {string} content all of that kind so far
 * @property {boolean} done
 * @property {Message} message
 */

/**
 * The text of a message, whole: its parts of a kind, one after the other.
 * @param {Message} message
 * @param {Kind} [kind]
 */
export function textOf(message, kind = 'text') {
  let text = '';
  for (const part of message.parts) {
    if (part.kind === kind) text += /** @type {{text: string}} */ (part).text;
  }
  return text;
}

/**
 * @param {Message} message
 * @returns {WholeMessage}
 */
export function whole(message) {
  return { ...message, text: textOf(message), done: message.status !== 'open' };
}

/** @type {Kind[]} */
const KINDS = ['thinking', 'commentary', 'text'];

/**
 * What a message has to say that an older version of it had not.
 * @param {Message} message
 * @param {Message | undefined} before
 * @returns {MessageUpdate[]}
 */
export function updatesOf(message, before) {
  const { id, role } = message;
  const done = message.status !== 'open';
  const ended = done && before?.status === 'open';
  return KINDS.flatMap((type) => {
    const content = textOf(message, type);
    const news = content !== (before ? textOf(before, type) : '');
    if (!news && !(ended && type === 'text' && content)) return [];
    return [{ id, role, type, content, done, message }];
  });
}
