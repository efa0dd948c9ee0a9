/** One page of many, chosen by `?page=`; what a test wants to know is on `window.lab`. */

import { Profiler, StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { pages } from './pages.jsx';
import { references } from './references.jsx';

const query = new URLSearchParams(location.search);
const Page = { ...pages, ...references }[query.get('page')];

window.lab = { draws: 0 };
document.body.style.margin = 0;

createRoot(document.getElementById('root')).render(
  <StrictMode>
    <Profiler id="page" onRender={() => (window.lab.draws += 1)}>
      <Page query={query} />
    </Profiler>
  </StrictMode>,
);
