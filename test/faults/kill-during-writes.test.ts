// ST-01: the process is killed while several connections write; what was acknowledged is there, each with its event, and nothing half.
import { afterAll, describe, expect, it } from 'vitest';
import {
  apiKey,
  CREDENTIALS,
  clientOf,
  eventsOf,
  furnish,
  newDirectory,
  startChild,
  stopAll,
  tenantPath,
  verifyLog,
  withDatabase,
} from '../kit/node-process.ts';

const CONNECTIONS = 8;
const WRITES_MIN = 10_000;
const NAMES_EACH = 12;
const ROUNDS = 3;

afterAll(stopAll);

interface Acknowledged {
  readonly name: string;
  readonly version: number;
  readonly key: string;
  readonly request: string;
}

/** Writes through one connection until the process is gone; returns what was acknowledged, in order. */
async function writeUntilKilled(url: string, token: string, writer: string, count: () => void): Promise<Acknowledged[]> {
  const put = clientOf(url, token);
  const done: Acknowledged[] = [];
  try {
    for (let i = 0; ; i++) {
      const name = `w${writer}-${i % NAMES_EACH}`;
      const key = `${writer}-${i}-not-a-real-secret`;
      const { status, body, headers } = await put('PUT', `${CREDENTIALS}/${name}`, apiKey(key));
      if (status !== 200 && status !== 201) throw new RangeError(`a put answered ${status}`);
      done.push({ name, version: body.version, key, request: headers.get('x-request-id') ?? '' });
      count();
    }
  } catch (error) {
    if (error instanceof RangeError) throw error;
    return done;
  }
}

describe('kill -9 during writes', () => {
  it(`loses none of ${WRITES_MIN} acknowledged writes, nor an event of one, and leaves no half write`, {
    timeout: 150_000,
  }, async () => {
    const directory = newDirectory();
    let service = await startChild(directory);
    const place = await furnish(service.url, directory);
    const acknowledged: Acknowledged[] = [];
    for (let round = 1; round <= ROUNDS; round++) {
      const running = service;
      let left = Math.ceil(WRITES_MIN / ROUNDS);
      const count = () => {
        if (--left === 0) running.signal('SIGKILL');
      };
      const writers = Array.from({ length: CONNECTIONS }, (_, i) =>
        writeUntilKilled(service.url, place.workload, `${round}x${i}`, count),
      );
      for (const done of await Promise.all(writers)) acknowledged.push(...done);
      expect(await running.exited).toMatchObject({ signal: 'SIGKILL' });
      service = await startChild(directory);
    }
    expect(acknowledged.length).toBeGreaterThanOrEqual(WRITES_MIN);
    expect(new Set(acknowledged.map(({ request }) => request)).size).toBe(acknowledged.length);

    const owner = clientOf(service.url, place.owner);
    const log = await verifyLog(owner, '/v1/tenants/acme');
    expect(log.findings).toEqual([]);
    expect(log.uncovered).toBe(0);
    const puts = new Map(
      eventsOf(log.lines)
        .filter(({ action, outcome }) => action === 'credential.put' && outcome === 'success')
        .map((event) => [event.request, event]),
    );
    const lost = acknowledged.filter(({ name, version, request }) => {
      const event = puts.get(request);
      return event?.target.name !== name || event.details?.version !== version;
    });
    expect(lost).toEqual([]);
    // At most one write in flight per connection and round took effect without its answer having arrived.
    expect(puts.size - acknowledged.length).toBeLessThanOrEqual(CONNECTIONS * ROUNDS);

    const reader = clientOf(service.url, place.workload);
    const newest = new Map<string, Acknowledged>();
    for (const write of acknowledged) if ((newest.get(write.name)?.version ?? 0) < write.version) newest.set(write.name, write);
    const wrong: string[] = [];
    for (const write of newest.values()) {
      const { body } = await reader('GET', `${CREDENTIALS}/${write.name}/value?version=${write.version}`);
      if (body?.value?.key !== write.key) wrong.push(write.name);
    }
    expect(wrong).toEqual([]);
    expect(await service.stop()).toMatchObject({ code: 0 });

    withDatabase(tenantPath(directory, place.tenantId), (database) => {
      expect(database.pragma('integrity_check')).toEqual([{ integrity_check: 'ok' }]);
      const rows = database.prepare('SELECT name, latest_version, current_version FROM credential').all() as {
        name: string;
        latest_version: number;
        current_version: number;
      }[];
      const events = new Map<string, number>();
      for (const event of puts.values()) events.set(event.target.name ?? '', (events.get(event.target.name ?? '') ?? 0) + 1);
      for (const row of rows) {
        expect(row.current_version).toBe(row.latest_version);
        expect(events.get(row.name)).toBe(row.latest_version);
      }
      const orphans = database
        .prepare(
          'SELECT count(*) AS n FROM credential WHERE NOT EXISTS (SELECT 1 FROM credential_version WHERE credential_id = id AND version = current_version)',
        )
        .get();
      expect(orphans).toEqual({ n: 0 });
    });
  });
});
