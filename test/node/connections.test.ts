// Many connections at a process with few descriptors: whoever holds them open, sends slowly or reads slowly silences nobody.
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { descriptorLimit } from '../../src/node/connections.ts';
import { listen } from '../../src/node/listener.ts';
import {
  apiKey,
  type ChildService,
  CREDENTIALS,
  clientOf,
  furnish,
  newDirectory,
  startChild,
  stopAll,
} from '../kit/node-process.ts';

const sockets = new Set<Socket>();
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
});
afterAll(stopAll);

/** A connection that says `first` and nothing more; opened again whenever it is closed. */
function hold(url: string, first: string): () => void {
  const { hostname, port } = new URL(url);
  let wanted = true;
  const open = () => {
    if (!wanted) return;
    const socket = connect(Number(port), hostname, () => socket.write(first));
    sockets.add(socket);
    socket.on('error', () => {});
    socket.pause();
    socket.once('close', () => {
      sockets.delete(socket);
      setTimeout(open, 200);
    });
  };
  open();
  return () => {
    wanted = false;
  };
}

/** Milliseconds until a new connection was answered; undefined when it was not within five seconds. */
function ask(url: string, path: string, token?: string): Promise<number | undefined> {
  const startedAtMs = performance.now();
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return new Promise((resolve) => {
    const call = request(url + path, { agent: false, headers, timeout: 5_000 }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode === 200 ? performance.now() - startedAtMs : undefined));
    });
    call.on('timeout', () => call.destroy());
    call.on('error', () => resolve(undefined));
    call.end();
  });
}

/** Milliseconds of the longest time in which nobody was answered. */
async function longestSilence(url: string, forMs: number, path = '/health', token?: string): Promise<number> {
  const endsAtMs = performance.now() + forMs;
  let answeredAtMs = performance.now();
  let longestMs = 0;
  while (performance.now() < endsAtMs) {
    if ((await ask(url, path, token)) !== undefined) {
      longestMs = Math.max(longestMs, performance.now() - answeredAtMs);
      answeredAtMs = performance.now();
    }
    await sleep(20);
  }
  return Math.max(longestMs, performance.now() - answeredAtMs);
}

async function served(descriptors: number): Promise<ChildService & { readonly token: string }> {
  const directory = newDirectory();
  const service = await startChild(directory, { descriptors });
  const place = await furnish(service.url, directory);
  const put = await clientOf(service.url, place.workload)('PUT', `${CREDENTIALS}/stripe`, apiKey('not-a-real-secret'));
  expect(put.status).toBe(201);
  return { ...service, token: place.workload };
}

const IDLE = 'GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n';
const WAYS = {
  'idle after a request': IDLE,
  'idle from the start': '',
  'slow with the headers': 'GET /health HTTP/1.1\r\nHost: loc',
  'slow with the body':
    'POST /v1/setup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{',
} as const;

describe('at a limit of descriptors', () => {
  it.each([
    [120, 150, 'idle after a request'],
    [256, 1_000, 'idle after a request'],
    [120, 150, 'idle from the start'],
    [120, 150, 'slow with the headers'],
    [120, 150, 'slow with the body'],
  ] as const)(
    'of %i, %i connections that are %s silence nobody for a second',
    async (descriptors, count, way) => {
      const service = await served(descriptors);
      const ends = Array.from({ length: count }, () => hold(service.url, WAYS[way]));
      await sleep(500);
      const health = await longestSilence(service.url, 1_500);
      const reads = await longestSilence(service.url, 1_000, `${CREDENTIALS}/stripe/value`, service.token);
      console.info(
        `${descriptors} descriptors, ${count} ${way}: longest silence ${health.toFixed(0)} ms, of reads ${reads.toFixed(0)} ms`,
      );
      expect(Math.max(health, reads)).toBeLessThan(1_000);
      for (const end of ends) end();
      expect(service.log.filter((line) => /EMFILE|storage_/.test(line))).toEqual([]);
      await service.kill();
    },
    60_000,
  );

  it('is what the system says', () => {
    const limit = descriptorLimit();
    expect(limit === undefined || limit > 16).toBe(true);
  });
});

describe('whoever reads slowly', () => {
  it('gives way after two seconds, but nobody whose request is being worked on does', async () => {
    const working = Promise.withResolvers<void>();
    const worked = Promise.withResolvers<void>();
    const big = Buffer.alloc(16 * 1_024 * 1_024);
    const listening = await listen(
      async ({ url }) => {
        if (url.endsWith('/big')) return new Response(big);
        if (url.endsWith('/work')) {
          working.resolve();
          await worked.promise;
        }
        return new Response('ok');
      },
      // The least there are.
      { host: '127.0.0.1', port: 0, descriptorLimit: 1, closeGraceMs: 100 },
    );
    try {
      const work = ask(listening.url, '/work');
      await working.promise;
      for (let i = 0; i < 20; i++) hold(listening.url, 'GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n');
      await sleep(2_500);
      const asked = await longestSilence(listening.url, 1_000, '/');
      worked.resolve();
      expect(asked).toBeLessThan(1_000);
      expect(await work, 'the one that was worked on').toBeGreaterThan(3_000);
    } finally {
      await listening.close();
    }
  }, 20_000);
});

describe('whoever sends slowly', () => {
  it('is cut off after the time for headers, and after the time for the whole request', async () => {
    const service = await served(1_024);
    const lasted = (first: string) =>
      new Promise<number>((resolve) => {
        const startedAtMs = performance.now();
        const { hostname, port } = new URL(service.url);
        const socket = connect(Number(port), hostname, () => socket.write(first));
        sockets.add(socket);
        socket.on('error', () => {});
        socket.resume();
        socket.on('close', () => resolve(performance.now() - startedAtMs));
      });
    const [headers, body] = await Promise.all([lasted(WAYS['slow with the headers']), lasted(WAYS['slow with the body'])]);
    console.info(`cut off after ${headers.toFixed(0)} ms of headers, ${body.toFixed(0)} ms of a body`);
    expect(headers).toBeLessThan(13_000);
    expect(body).toBeLessThan(33_000);
    await service.kill();
  }, 60_000);
});
