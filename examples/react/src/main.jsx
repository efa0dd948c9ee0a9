import { StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { AgentChat, string, tool } from 'agent-gateway/react';

function App() {
  const [heading, setHeading] = useState('A page with an agent');

  const rename = tool('rename_page', 'Gives this page another title')
    .param('title', string('The new title'))
    .requireApproval()
    .handler(({ title }) => {
      setHeading(title);
      return { title, was: heading };
    });

  return (
    <main style={{ maxWidth: '44rem', margin: 'auto', padding: '1rem', fontFamily: 'system-ui' }}>
      <h1>{heading}</h1>
      <AgentChat
        agent="demo"
        tools={[rename]}
        persist="chat"
        suggestions={['Rename this page to “Tea house”', 'Tell me a long story']}
      />
    </main>
  );
}

createRoot(document.getElementById('root')).render(<StrictMode children={<App />} />);
