// The Worker that workerd tests run in: an empty Durable Object with SQLite storage for each test to fill.
// It must never grow behaviour: a test that needs the real cells opens src/worker/main.ts's classes itself.
import { DurableObject } from 'cloudflare:workers';

export class TestObject extends DurableObject {}

export default {
  fetch(): Response {
    return new Response('this Worker only carries tests', { status: 404 });
  },
};
