import { defineConfig } from 'vite';

// The page's own origin is the gateway's, so no origin needs to be allowed there.
const proxy = { '/v1': { target: process.env.GATEWAY_URL ?? 'http://127.0.0.1:8000', ws: true } };

export default defineConfig({
  esbuild: { jsx: 'automatic' },
  resolve: { dedupe: ['react', 'react-dom'] },
  server: { proxy },
  preview: { proxy },
});
