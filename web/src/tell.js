/**
 * Calls each listener with the news. One that throws keeps no other from hearing; its error is
 * reported as any uncaught one.
 * @template {unknown[]} News
 * @param {Iterable<(...news: News) => void>} listeners
 * @param {import('./types.js').Clock} clock
 * @param {News} news
 */
export function tellAll(listeners, clock, ...news) {
  for (const listener of listeners) {
    try {
      listener(...news);
    } catch (error) {
      clock.setTimeout(() => {
        throw error;
      }, 0);
    }
  }
}
