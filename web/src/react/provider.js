/** The provider of one conversation, and the hooks that read it and act on it. */

import {
  createContext,
  createElement as h,
  useContext,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useSyncExternalStore,
} from 'react';
import { Chat } from './chat.js';
import { planOf, toolsOf } from './config.js';
import { Holds } from './holds.js';

/** @typedef {import('./config.js').ChatConfig} ChatConfig */
/** @typedef {import('./chat.js').Callbacks} Callbacks */
/** @typedef {import('./chat.js').ChatSnapshot} ChatSnapshot */
/** @typedef {import('./actions.js').ChatActions} ChatActions */
/** @typedef {ChatConfig & Callbacks & {children?: import('react').ReactNode}} AgentChatProviderProps */

/** Page-wide on purpose: providers that know nothing of each other share their sockets. */
const page = new Holds();

/** Before the effects of components below, which may act at once; a server has no layout. */
const useEarly = typeof document === 'undefined' ? useEffect : useLayoutEffect;

/** @type {import('react').Context<Chat | null>} */
export const AgentChatContext = createContext(/** @type {Chat | null} */ (null));

/**
 * Gives the components below it one conversation with an agent.
 * @param {AgentChatProviderProps} props
 */
export function AgentChatProvider({ children, ...config }) {
  const chat = useChat(config);
  return h(AgentChatContext.Provider, { value: chat }, children);
}

/**
 * @param {ChatConfig & Callbacks} config
 * @returns {Chat}
 */
function useChat(config) {
  const { client, url, token } = config;
  const plan = planOf(config);
  const shown = useFixed(token);
  const key = JSON.stringify(plan);
  const chat = useMemo(() => {
    return new Chat(JSON.parse(key), {
      client: () => client ?? page.client(url, shown),
      holdClient() {
        if (!client) return page.holdClient(url, shown);
        client.connect();
        return () => {};
      },
      holdSession: (of, id, options) => page.holdSession(of, id, options),
      storage: storage(),
    });
  }, [client, url, shown, key]);
  useEarly(() => {
    chat.callbacks = config;
    chat.useTools(toolsOf(config));
  });
  useEarly(() => chat.start(), [chat]);
  return chat;
}

/**
 * A function made at every draw counts as the first one, until the token is no function.
 * @param {import('../client.js').Token} [token]
 */
function useFixed(token) {
  const fixed = useRef(token);
  const renewed = typeof token === 'function' && typeof fixed.current === 'function';
  if (!renewed) fixed.current = token;
  return fixed.current;
}

/** Blocked where a browser keeps nothing of a page. */
function storage() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}

/** @returns {Chat} */
function useGiven() {
  const chat = useContext(AgentChatContext);
  if (!chat) throw new Error('This needs an <AgentChatProvider> around it.');
  return chat;
}

/**
 * The conversation as it is; drawn anew at most once per animation frame.
 * @returns {ChatSnapshot}
 */
export function useAgentChat() {
  const chat = useGiven();
  return useSyncExternalStore(chat.subscribe, chat.getSnapshot, chat.getServerSnapshot);
}

/**
 * What can be done; never causes a draw.
 * @returns {ChatActions}
 */
export function useAgentActions() {
  return useGiven().actions;
}

/** Both at once. */
export function useAgentChatContext() {
  return { state: useAgentChat(), actions: useAgentActions() };
}

/** The client of the provider; only in a browser. */
export function useAgentClient() {
  return useGiven().client;
}

/** @param {string} id */
export function useMessage(id) {
  return useAgentChat().messages.find((message) => message.id === id);
}

/**
 * A client that is shared as the providers share theirs, for hooks that need no conversation.
 * @param {import('../client.js').GatewayClient} [own]
 * @param {string} [url]
 * @param {import('../client.js').Token} [token]
 */
export function useClient(own, url, token) {
  const around = useContext(AgentChatContext);
  const shown = useFixed(token);
  const mine = !own && (url !== undefined || !around);
  useEffect(() => (mine ? page.holdClient(url, shown) : undefined), [mine, url, shown]);
  return () => own ?? (mine || !around ? page.client(url, shown) : around.client);
}

/**
 * Keep a client for as long as something needs it, also when no component does.
 * @param {import('../client.js').GatewayClient} client
 * @returns {() => void} releases it
 */
export function keepClient(client) {
  return page.keepClient(client);
}
