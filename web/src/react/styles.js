/**
 * The looks of the chat, as a sheet that documents and shadow roots adopt: it needs no bundler and
 * no exception from a content security policy.
 *
 * Colours and sizes are the `--agw-…` properties, which a page sets on anything around the chat;
 * `light-dark()` follows the colour scheme.
 */

export const styles = `
.agw {
  --_bg: var(--agw-background, light-dark(#fff, #14171e));
  --_raised: var(--agw-raised, light-dark(#f4f5f8, #1d212b));
  --_text: var(--agw-text, light-dark(#171a22, #e7eaf1));
  --_muted: var(--agw-muted, light-dark(#5a6272, #a0a9ba));
  --_line: var(--agw-line, light-dark(#dfe2e9, #2c323f));
  --_accent: var(--agw-accent, light-dark(#4450dc, #949dff));
  --_on-accent: var(--agw-on-accent, light-dark(#fff, #0d0f1f));
  --_soft: var(--agw-soft, light-dark(#ecedfd, #262b4e));
  --_good: light-dark(#0f7a55, #4fcf9c);
  --_warn: light-dark(#8a5600, #f0b95a);
  --_bad: light-dark(#b3273a, #ff8f9a);
  --_radius: var(--agw-radius, 14px);
  --_mono: var(--agw-mono, ui-monospace, 'SF Mono', 'Cascadia Mono', Menlo, Consolas, monospace);
  position: relative;
  display: flex;
  flex-direction: column;
  box-sizing: border-box;
  width: 100%;
  max-width: 100%;
  height: var(--agw-height, min(44rem, 100dvh));
  min-height: 16rem;
  overflow: hidden;
  color-scheme: light dark;
  border: 1px solid var(--_line);
  border-radius: var(--_radius);
  background: var(--_bg);
  color: var(--_text);
  font: var(--agw-font, 15px/1.55 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif);
  text-align: start;

  &[data-theme='light'] { color-scheme: light; }
  &[data-theme='dark'] { color-scheme: dark; }
  & *, & *::before, & *::after { box-sizing: border-box; }
  & p, & ul, & ol, & pre, & blockquote, & h2, & h3, & h4, & h5, & h6 { margin: 0; }
  & button, & textarea { font: inherit; color: inherit; }
  & button { cursor: pointer; }
  & button:disabled { cursor: default; opacity: 0.45; }
  & :focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
  & [hidden] { display: none; }
  & code, & pre, & .agw-question textarea { font-family: var(--_mono); font-size: 0.87em; }
  & pre code { font-size: inherit; }
  & a { color: var(--_accent); text-underline-offset: 2px; }
}

.agw-icon {
  width: 18px;
  height: 18px;
  flex: none;
  fill: none;
  stroke: currentcolor;
  stroke-width: 1.8;
  stroke-linecap: round;
  stroke-linejoin: round;
}
.agw-icon-stop { fill: currentcolor; }

.agw-icon-button, .agw-round, .agw-button, .agw-link { border: 0; background: none; padding: 0; }
.agw-icon-button {
  display: inline-grid;
  place-items: center;
  width: 34px;
  height: 34px;
  flex: none;
  border-radius: 10px;
  .agw & { color: var(--_muted); }
  &:hover:enabled { background: var(--_raised); color: var(--_text); }
}
.agw-button {
  min-height: 36px;
  padding: 6px 14px;
  border: 1px solid var(--_line);
  border-radius: 10px;
  background: var(--_bg);
  font-weight: 550;
  &:hover:enabled { background: var(--_raised); }
  .agw &.agw-primary { border-color: transparent; background: var(--_accent); color: var(--_on-accent); }
  .agw &.agw-deny { color: var(--_bad); }
}
.agw .agw-link { color: inherit; text-decoration: underline; text-underline-offset: 2px; margin-inline-start: 8px; }
.agw-buttons { display: flex; flex-wrap: wrap; gap: 8px; }

.agw-head {
  display: flex;
  align-items: center;
  gap: 8px;
  padding: 7px 8px 7px 18px;
  border-bottom: 1px solid var(--_line);
  & h2 {
    flex: 1;
    min-width: 0;
    overflow: hidden;
    font-size: 15px;
    font-weight: 600;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
}
.agw-banner {
  padding: 7px 18px;
  border-bottom: 1px solid var(--_line);
  background: color-mix(in srgb, var(--_warn) 14%, var(--_bg));
  color: var(--_text);
  font-size: 13.5px;
  &[data-status='resuming'] { animation: agw-late 0.9s; }
}

.agw-frame { position: relative; display: flex; flex: 1; min-height: 0; }
.agw-log {
  flex: 1;
  min-width: 0;
  overflow-y: auto;
  overscroll-behavior: contain;
  scrollbar-width: thin;
  .agw &:focus-visible { outline-offset: -3px; }
}
.agw-list {
  display: flex;
  flex-direction: column;
  gap: 14px;
  max-width: var(--agw-measure, 48rem);
  margin-inline: auto;
  padding: 18px;
}
.agw .agw-latest {
  position: absolute;
  right: 50%;
  bottom: 10px;
  border: 1px solid var(--_line);
  border-radius: 50%;
  background: var(--_bg);
  color: var(--_text);
  box-shadow: 0 4px 16px rgb(0 0 0 / 18%);
  translate: 50% 0;
}
.agw-greeting {
  display: flex;
  flex-wrap: wrap;
  justify-content: center;
  gap: 8px;
  padding-block: 12vh 24px;
  & p { width: 100%; padding-bottom: 10px; font-size: 20px; font-weight: 600; text-align: center; letter-spacing: -0.015em; }
}
.agw-older { align-self: center; }

.agw-message {
  position: relative;
  min-width: 0;
  &[data-status='sending'] { opacity: 0.6; }
  &[data-role='user'] {
    align-self: flex-end;
    display: flex;
    flex-direction: column;
    align-items: flex-end;
    max-width: min(88%, 60ch);
    & .agw-parts {
      gap: 6px;
      padding: 8px 14px;
      border-radius: 18px 18px 5px;
      background: var(--_soft);
    }
  }
}
.agw-parts { display: flex; flex-direction: column; gap: 10px; min-width: 0; max-width: 100%; }
.agw-typed { white-space: pre-wrap; overflow-wrap: anywhere; }
.agw-commentary, .agw-note { color: var(--_muted); }
.agw-note { font-size: 13px; }
.agw .agw-problem { color: var(--_bad); font-size: 13.5px; }
.agw-image { max-width: 100%; max-height: 20rem; border-radius: 10px; }
.agw-file { display: flex; align-items: center; gap: 6px; overflow-wrap: anywhere; }
.agw-tools {
  display: flex;
  gap: 2px;
  opacity: 0;
  transition: opacity 0.12s;
  .agw-message:is(:hover, :focus-within, :last-of-type) > & { opacity: 1; }
  & .agw-icon-button { width: 28px; height: 28px; }
  & .agw-icon { width: 15px; height: 15px; }
}
@media (hover: none) { .agw-tools { opacity: 1; } }
@media (hover: hover) {
  .agw-message[data-role='user'] {
    max-width: min(78%, 60ch);
    & .agw-tools { position: absolute; right: 100%; bottom: 4px; padding-inline-end: 4px; }
  }
}

.agw-markdown {
  display: flex;
  flex-direction: column;
  gap: 0.7em;
  overflow-wrap: anywhere;
  .agw & h3 { font-size: 1.2em; }
  .agw & :is(h4, h5, h6) { font-size: 1.05em; }
  .agw & :is(h3, h4, h5, h6) { line-height: 1.3; font-weight: 650; }
  & p, & li { white-space: pre-line; }
  & :is(ul, ol) { padding-inline-start: 1.4em; }
  & li + li { margin-top: 0.2em; }
  & blockquote { padding-inline-start: 12px; border-inline-start: 3px solid var(--_line); color: var(--_muted); }
  & hr { width: 100%; margin: 4px 0; border: 0; border-top: 1px solid var(--_line); }
  & :not(pre) > code { padding: 1px 5px; border-radius: 6px; background: var(--_raised); }
  & .table { overflow-x: auto; }
  & table { border-collapse: collapse; font-size: 0.95em; }
  & :is(th, td) { padding: 5px 10px; border: 1px solid var(--_line); text-align: start; }
  & th { background: var(--_raised); }
}
.agw pre {
  padding: 10px 12px;
  overflow: auto;
  border-radius: 10px;
  background: var(--_raised);
  line-height: 1.5;
}
.agw-growing.agw-text .agw-markdown > :last-child::after {
  content: '';
  display: inline-block;
  width: 0.5em;
  height: 1em;
  margin-inline-start: 3px;
  border-radius: 2px;
  background: var(--_accent);
  vertical-align: -0.12em;
  animation: agw-blink 1s steps(2) infinite;
}

.agw details > summary {
  display: flex;
  align-items: center;
  gap: 7px;
  cursor: pointer;
  list-style: none;
  &::-webkit-details-marker { display: none; }
  & .agw-icon-chevron { width: 14px; height: 14px; transition: rotate 0.12s; }
}
.agw details[open] > summary .agw-icon-chevron { rotate: 90deg; }
.agw-thinking {
  color: var(--_muted);
  font-size: 13.5px;
  & > p { padding: 6px 0 2px 12px; border-inline-start: 2px solid var(--_line); white-space: pre-wrap; overflow-wrap: anywhere; }
  &.agw-growing > summary { animation: agw-breathe 1.6s ease-in-out infinite; }
}

.agw-card { border: 1px solid var(--_line); border-radius: 12px; background: var(--_bg); }
.agw-call { display: flex; flex-direction: column; gap: 6px; }
.agw-tool > summary { padding: 8px 12px; font-size: 13.5px; & .agw-icon { color: var(--_muted); } }
.agw-tool-name { flex: none; max-width: 60%; overflow: hidden; font-family: var(--_mono); font-size: 13px; text-overflow: ellipsis; white-space: nowrap; }
.agw-tool-state { min-width: 0; overflow: hidden; color: var(--_muted); text-overflow: ellipsis; white-space: nowrap; }
.agw-dot {
  width: 8px;
  height: 8px;
  flex: none;
  margin-inline-start: auto;
  border-radius: 50%;
  background: var(--_muted);
  .agw-tool[data-status='done'] & { background: var(--_good); }
  .agw-tool:is([data-status='failed'], [data-status='denied']) & { background: var(--_bad); }
  .agw-tool[data-status='asking'] & { background: var(--_warn); }
  .agw-tool:is([data-status='streaming'], [data-status='requested'], [data-status='running']) & {
    background: var(--_accent);
    animation: agw-breathe 1.2s infinite;
  }
}
.agw-section {
  display: flex;
  flex-direction: column;
  gap: 4px;
  .agw-tool > & { padding: 4px 12px 12px; }
  & pre { max-height: 18em; white-space: pre-wrap; overflow-wrap: anywhere; }
}
.agw-label { color: var(--_muted); font-size: 12px; font-weight: 600; }
.agw-question, .agw-error { display: flex; flex-direction: column; gap: 10px; padding: 12px; }
.agw-question {
  border-color: color-mix(in srgb, var(--_warn) 55%, var(--_line));
  & > p { display: flex; flex-wrap: wrap; align-items: center; gap: 7px; }
  & > p .agw-icon { color: var(--_warn); }
}
.agw-error { border-color: color-mix(in srgb, var(--_bad) 55%, var(--_line)); & p { overflow-wrap: anywhere; } }
.agw-decided {
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: 7px;
  color: var(--_muted);
  font-size: 13px;
  &[data-decision='approve'] .agw-icon { color: var(--_good); }
  &[data-decision='deny'] .agw-icon { color: var(--_bad); }
}
.agw-progress {
  display: flex;
  align-items: center;
  gap: 10px;
  color: var(--_muted);
  font-size: 13px;
  & progress { flex: 1; min-width: 60px; max-width: 20rem; height: 7px; accent-color: var(--_accent); }
}
.agw-doing {
  display: flex;
  flex-direction: column;
  gap: 6px;
  color: var(--_muted);
  font-size: 13.5px;
  & p { display: flex; align-items: center; gap: 9px; }
  &:empty { display: none; }
}
.agw-dots {
  width: 7px;
  height: 7px;
  margin: 0 10px 0 12px;
  border-radius: 50%;
  background: currentcolor;
  box-shadow: -11px 0, 11px 0;
  animation: agw-breathe 1.2s infinite;
}

.agw textarea {
  width: 100%;
  border: 1px solid var(--_line);
  border-radius: 10px;
  padding: 8px 10px;
  background: var(--_bg);
  resize: vertical;
}
.agw-composer { width: 100%; max-width: calc(var(--agw-measure, 48rem)); margin-inline: auto; padding: 4px 14px max(14px, env(safe-area-inset-bottom)); }
.agw-field {
  display: flex;
  align-items: flex-end;
  gap: 4px;
  padding: 5px;
  border: 1px solid var(--_line);
  border-radius: 22px;
  background: var(--_raised);
  &:focus-within { border-color: var(--_accent); }
  & .agw-icon-button { border-radius: 50%; }
  .agw & textarea {
    flex: 1;
    min-width: 0;
    max-height: 11rem;
    padding: 6px 4px 5px 8px;
    border: 0;
    outline: 0;
    background: none;
    resize: none;
    field-sizing: content;
    font-size: max(1em, 16px);
    line-height: 1.45;
  }
  & textarea::placeholder { color: var(--_muted); opacity: 1; }
}
.agw-round {
  display: grid;
  place-items: center;
  width: 34px;
  height: 34px;
  flex: none;
  border-radius: 50%;
  .agw & { background: var(--_accent); color: var(--_on-accent); }
  .agw &.agw-stop { background: var(--_text); color: var(--_bg); }
  .agw &:disabled { opacity: 1; background: none; color: var(--_muted); }
}
.agw-files {
  display: flex;
  flex-wrap: wrap;
  gap: 6px;
  padding: 0 4px 8px;
  list-style: none;
  & li {
    display: flex;
    align-items: center;
    padding-inline-start: 10px;
    border: 1px solid var(--_line);
    border-radius: 10px;
    font-size: 13px;
    overflow-wrap: anywhere;
  }
}
.agw-editor { align-self: stretch; display: flex; flex-direction: column; gap: 8px; & textarea { field-sizing: content; min-height: 4.5em; max-height: 16em; } }
.agw-unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

@keyframes agw-blink { 50% { opacity: 0; } }
@keyframes agw-breathe { 50% { opacity: 0.45; } }
@keyframes agw-late { 0%, 80% { opacity: 0; } }
@media (prefers-reduced-motion: reduce) { .agw * { animation: none !important; transition: none !important; } }
@media (max-width: 480px) { .agw-list { padding-inline: 14px; } .agw-composer { padding-inline: 8px; } }
`;

/** @type {WeakMap<Document, CSSStyleSheet>} a sheet belongs to one document */
const sheets = new WeakMap();

/**
 * Style the document, or the shadow root, that a node is in.
 * @param {Element} node
 */
export function adopt(node) {
  const root = /** @type {Document | ShadowRoot} */ (node.getRootNode());
  const { ownerDocument } = node;
  let sheet = sheets.get(ownerDocument);
  if (!sheet) {
    const Sheet = ownerDocument.defaultView?.CSSStyleSheet ?? CSSStyleSheet;
    sheet = new Sheet();
    sheet.replaceSync(styles);
    sheets.set(ownerDocument, sheet);
  }
  // First, so that a sheet of the page's own may say otherwise.
  if (!root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets.unshift(sheet);
}
