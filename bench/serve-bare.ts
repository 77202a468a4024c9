// The yardstick: Hono on the same node-server; the given answer is turned into JSON for each request, and nothing else happens.
// `/bare` is written as Hono's manual would; `/ready` goes around Hono's own header handling and is as fast as this server gets.
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { answerWith, givenInput } from './child.ts';

const given = givenInput<{ answer: unknown; headers: Record<string, string> }>();
const app = new Hono();
app.get('/bare', (c) => c.json(given.answer as object, 200, given.headers));
app.get('/ready', () => new Response(JSON.stringify(given.answer), { status: 200, headers: given.headers }));

const url = new Promise<string>((ready) => {
  serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => ready(`http://127.0.0.1:${port}`));
});
answerWith({ hello: async () => ({ url: await url }) }, () => {});
