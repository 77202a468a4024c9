// The yardstick: Hono on the same node-server, one route, the given answer turned into JSON for each request, and nothing else.
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { answerWith, givenInput } from './child.ts';

const given = givenInput<{ answer: unknown; headers: Record<string, string> }>();
const app = new Hono();
app.get('/bare', () => new Response(JSON.stringify(given.answer), { status: 200, headers: given.headers }));

const url = new Promise<string>((ready) => {
  serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => ready(`http://127.0.0.1:${port}`));
});
answerWith({ hello: async () => ({ url: await url }) }, () => {});
