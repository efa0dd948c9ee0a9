/**
 * What a person can do in a conversation. Actions never reject: what goes wrong becomes the
 * chat's `error`, and they resolve with null.
 */

import { GatewayError } from '../errors.js';
import { filePart } from '../files.js';
import { hasEnded } from '../outcomes.js';

/** @typedef {import('../session.js').Session} Session */
/** @typedef {import('../files.js').Content} Content */
/** @typedef {import('../files.js').FileLike} FileLike */
/** @typedef {import('../commands.js').SendOptions} SendOptions */
/** @typedef {import('./chat.js').Chat} Chat */
/** @typedef {ReturnType<typeof actionsOf>} ChatActions */

/**
 * What a person can do; the same functions for as long as the chat lives.
 * @param {Chat} chat
 */
export function actionsOf(chat) {
  /** @param {string} id of an approval, or of the call it is asked for */
  const asked = (id) => {
    const approvals = chat.session?.state?.approvals ?? {};
    return approvals[id]?.id ?? Object.values(approvals).find(({ call }) => call === id)?.id ?? id;
  };
  /**
   * @template T
   * @param {(session: Session) => Promise<T>} command
   */
  const act = async (command) => {
    const { session } = chat;
    return session && chat.attempt(command(session));
  };
  return {
    /**
     * Send a message. While the agent is busy it waits for its turn, unless `if_busy` says else.
     * @param {Content} content
     * @param {readonly FileLike[] | SendOptions} [how] files, or options
     */
    sendMessage(content, how = {}) {
      const options = Array.isArray(how) ? { files: how } : /** @type {SendOptions} */ (how);
      chat.clearError();
      const send = async () => chat.opened().send(content, { if_busy: 'enqueue', ...options });
      return chat.attempt(send());
    },
    /** Stop the live run, or what waits for one. */
    stopGeneration() {
      return act((session) => stopped(session));
    },
    /**
     * Answer a call of a tool without a handler.
     * @param {string} call
     * @param {unknown} [output]
     * @param {Parameters<Session['submitToolResult']>[2]} [options]
     */
    submitToolResult(call, output, options) {
      return act((session) => session.submitToolResult(call, output, options));
    },
    /**
     * @param {string} id of the approval, or of the call
     * @param {Parameters<Session['approve']>[1]} [options]
     */
    approveTool(id, options) {
      return act((session) => session.approve(asked(id), options));
    },
    /**
     * @param {string} id
     * @param {string} [reason]
     */
    rejectTool(id, reason) {
      return act((session) => session.deny(asked(id), reason ? { reason } : {}));
    },
    /**
     * Allow it, and ask no more for this tool in this session.
     * @param {string} id
     * @param {unknown} [_name] others want it; the approval knows it
     */
    alwaysAllowTool(id, _name) {
      return act((session) => session.approve(asked(id), { remember: true }));
    },
    /**
     * @param {string} id
     * @param {'allow' | 'deny'} decision
     */
    resolveInterrupt(id, decision) {
      const yes = decision === 'allow';
      return act((session) => (yes ? session.approve(asked(id)) : session.deny(asked(id))));
    },
    /**
     * Another answer to the message before this one; default: to the newest.
     * @param {string} [message]
     */
    regenerate(message) {
      chat.clearError();
      return act((session) => session.regenerate(message));
    },
    /**
     * @param {string} message
     * @param {Content} content
     */
    editMessage(message, content) {
      chat.clearError();
      return act((session) => session.edit(message, content));
    },
    /** @param {string} message a refused one */
    resendMessage(message) {
      chat.clearError();
      return act(async () => chat.opened().resend(message));
    },
    /**
     * Take back a message that waits, or one that was refused.
     * @param {string} message
     */
    cancelMessage(message) {
      return act(async (session) => {
        session.discard(message);
        const run = session.state?.queue.find(({ trigger }) => trigger === message);
        if (run) await session.stop({ run: run.id });
      });
    },
    /** @returns {Promise<boolean>} whether there are more */
    async loadOlderMessages() {
      return (await act((session) => session.loadOlder())) ?? false;
    },
    /** @param {FileLike} file */
    async uploadFile(file) {
      return filePart(file);
    },
    /** Connect now instead of when the backoff ends. */
    reconnect() {
      if (!chat.started) return;
      if (chat.client.status === 'closed') chat.client.connect();
      else chat.client.retry();
    },
    reset: () => chat.reset(),
    clearError: () => chat.clearError(),
  };
}

/** @param {Session} session */
async function stopped(session) {
  const { run, queue = [] } = session.state ?? {};
  const wanted = run && !hasEnded(run) ? run : queue[0];
  try {
    await session.stop(wanted ? { run: wanted.id } : {});
  } catch (error) {
    // It has just ended by itself: that is what was wanted.
    if (!(error instanceof GatewayError) || error.code !== 'run.not_active') throw error;
  }
}
