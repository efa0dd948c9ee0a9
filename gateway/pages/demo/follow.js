/** Keeps a growing log at its end, unless the reader has scrolled away from it. */

import { h } from './dom.js';
import { icon } from './icons.js';

const NEAR_PX = 48;

/** @param {HTMLElement} log */
export function follow(log) {
  let following = true;
  const button = h(
    'button',
    {
      class: 'icon-button latest',
      test: 'latest',
      attrs: { type: 'button', 'aria-label': 'To the newest message' },
      on: {
        click() {
          following = true;
          toEnd();
        },
      },
    },
    icon('down'),
  );
  button.hidden = true;

  function toEnd() {
    log.scrollTop = log.scrollHeight;
    button.hidden = true;
  }
  function look() {
    const rest = log.scrollHeight - log.scrollTop - log.clientHeight;
    following = rest < NEAR_PX;
    button.hidden = following;
  }
  log.addEventListener('scroll', look, { passive: true });
  // Cards that unfold, fields that grow and panes that are resized move the end as well.
  const observer = new ResizeObserver(() => following && toEnd());
  observer.observe(log);
  for (const child of log.children) observer.observe(child);
  return { button, stop: () => observer.disconnect() };
}
