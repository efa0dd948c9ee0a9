/** Keeps a growing log at its end, unless the reader has scrolled away from it. */

import { useCallback, useEffect, useRef, useState } from 'react';

const NEAR_PX = 48;

/**
 * @returns {{log: import('react').RefObject<HTMLDivElement | null>, away: boolean, toEnd: () => void}}
 *   `log` is for the element that scrolls; its children are what grows
 */
export function useFollow() {
  const [away, setAway] = useState(false);
  /** @type {import('react').RefObject<HTMLDivElement | null>} */
  const log = useRef(null);
  const following = useRef(true);

  const toEnd = useCallback(() => {
    following.current = true;
    setAway(false);
    if (log.current) log.current.scrollTop = log.current.scrollHeight;
  }, []);

  useEffect(() => {
    const node = log.current;
    if (!node) return undefined;
    let top = node.scrollTop;
    const near = () => node.scrollHeight - node.scrollTop - node.clientHeight < NEAR_PX;
    const look = () => {
      // Only who scrolls up has gone away: what grows meanwhile is no reader.
      if (near()) following.current = true;
      else if (node.scrollTop < top) following.current = false;
      top = node.scrollTop;
      setAway(!following.current);
    };
    // Cards that unfold, fields that grow and frames that are resized move the end as well.
    const observer = new ResizeObserver(() => {
      if (following.current) node.scrollTop = node.scrollHeight;
      // Where what shrank has left it: `look` is called later, when more may have grown.
      top = node.scrollTop;
      look();
    });
    observer.observe(node);
    for (const child of node.children) observer.observe(child);
    node.addEventListener('scroll', look, { passive: true });
    return () => {
      observer.disconnect();
      node.removeEventListener('scroll', look);
    };
  }, []);
  return { log, away, toEnd };
}
