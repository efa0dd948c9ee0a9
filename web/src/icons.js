/** Paths of the pages' icons: strokes on a 24 × 24 grid. */

export const PATHS = {
  plus: 'M12 5v14M5 12h14',
  close: 'M6 6l12 12M18 6L6 18',
  stop: 'M7 7h10v10H7z',
  send: 'M12 19V5M6 11l6-6 6 6',
  down: 'M12 5v14M6 13l6 6 6-6',
  list: 'M4 6h16M4 12h16M4 18h10',
  theme: 'M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16',
  pencil: 'M4 20l1-4L16.5 4.5l3 3L8 19z',
  trash: 'M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13',
  tool: 'M13 3L5 14h6l-1 7 8-11h-6z',
  hand: 'M12 3l8 4v5c0 5-3.5 8-8 9-4.5-1-8-4-8-9V7zM9 12l2 2 4-4',
  chevron: 'M9 6l6 6-6 6',
  again: 'M20 11a8 8 0 1 0-2.3 6M20 4v7h-7',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  clip: 'M20 11l-8.5 8.5a5 5 0 0 1-7-7L13 4a3.3 3.3 0 0 1 4.7 4.7L9.2 17a1.7 1.7 0 0 1-2.4-2.4L14 7.5',
};

/** @typedef {keyof typeof PATHS} IconName */
