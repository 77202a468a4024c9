// A real Keyturn on a temporary data directory, furnished as in the conformance suite, for those who attack it over HTTP.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunningKeyturn, startKeyturn } from '../../src/node/start.ts';
import { type Call, furnish, type Json, must, type World } from '../conformance/world.ts';

export interface Attacked extends World {
  readonly running: RunningKeyturn;
  readonly directory: string;
  /** The bootstrap secret that the owner has spent. */
  readonly spent: string;
  /** The operator's log. */
  readonly log: readonly string[];
  stop(): Promise<void>;
}

export async function attacked(): Promise<Attacked> {
  const directory = mkdtempSync(join(tmpdir(), 'keyturn-hostile-'));
  const log: string[] = [];
  const running = await startKeyturn({ dataDirectory: directory, host: '127.0.0.1', port: 0, log: (line) => log.push(line) });
  const stop = async () => {
    await running.close();
    rmSync(directory, { recursive: true, force: true });
  };
  const spent = readFileSync(running.bootstrapSecretFile as string, 'utf8').trim();
  const world = await furnish({ url: running.url, bootstrapSecret: spent, stop });
  return { ...world, running, directory, spent, log, stop };
}

/** Every event of a log, oldest first; `tenant` undefined: the installation's. */
export async function eventsOf(call: Call, token: string, tenant?: string, from = 0): Promise<Json[]> {
  const base = tenant === undefined ? '/v1' : `/v1/tenants/${tenant}`;
  const events: Json[] = [];
  for (;;) {
    const next = from + events.length;
    const { body } = await must(call('GET', `${base}/audit/events?from=${next}&limit=500`, { token }), 200);
    events.push(...body.items);
    if (body.items.length < 500) return events;
  }
}

/** The status line and headers of every answer to these exact bytes, until the peer closes or `quietMs` passed without a byte. */
export function rawBytes(url: string, bytes: string | Uint8Array, quietMs = 300): Promise<string> {
  return new Promise((resolve) => {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    const parts: Buffer[] = [];
    const end = () => {
      socket.destroy();
      resolve(Buffer.concat(parts).toString('latin1'));
    };
    socket.setTimeout(quietMs, end);
    socket.on('data', (part) => parts.push(part));
    socket.on('error', end);
    socket.on('close', end);
    socket.write(bytes);
  });
}

/** The statuses of the answers in what `rawBytes` returned. */
export function statusesOf(answers: string): number[] {
  return [...answers.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));
}

/** The middle value. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

/** The probability that a value of `a` is larger than one of `b` (Mann-Whitney U / nm): 0.5 when nothing tells them apart. */
export function superiority(a: readonly number[], b: readonly number[]): number {
  const ranked = [...a.map((value) => ({ value, mine: true })), ...b.map((value) => ({ value, mine: false }))];
  ranked.sort((x, y) => x.value - y.value);
  let rankSum = 0;
  ranked.forEach(({ mine }, index) => {
    if (mine) rankSum += index + 1;
  });
  return (rankSum - (a.length * (a.length + 1)) / 2) / (a.length * b.length);
}
