'use client';
/** React bindings: a provider, hooks, and a chat component. Everything else may change. */

export { AgentChat } from './agent_chat.js';
export { Markdown } from './elements.js';
export {
  AgentChatContext,
  AgentChatProvider,
  useAgentActions,
  useAgentChat,
  useAgentChatContext,
  useAgentClient,
  useMessage,
} from './provider.js';
export { useRun, useStream } from './run.js';
export { styles } from './styles.js';
export {
  array,
  boolean,
  enumOf,
  integer,
  number,
  object,
  optional,
  string,
  tool,
} from '../tool.js';
