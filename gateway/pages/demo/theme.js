/** Light or dark: what the system says until the person chooses, and then what they chose. */

const KEY = 'agent-gateway.theme';

/** @param {HTMLButtonElement} button */
export function themeToggle(button) {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const root = document.documentElement;
  const show = () => {
    const chosen = localStorage.getItem(KEY);
    const theme = chosen ?? (dark.matches ? 'dark' : 'light');
    root.dataset.theme = theme;
    button.setAttribute('aria-pressed', String(theme === 'dark'));
  };
  button.addEventListener('click', () => {
    localStorage.setItem(KEY, root.dataset.theme === 'dark' ? 'light' : 'dark');
    show();
  });
  dark.addEventListener('change', show);
  show();
}
