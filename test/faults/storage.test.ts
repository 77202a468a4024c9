// ST-03, AU-01: a disk that is full or cannot be written. No secret leaves without its event, nothing half happens, and it heals by itself.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import {
  type Answer,
  apiKey,
  type ChildService,
  type Client,
  CREDENTIALS,
  clientOf,
  eventsOf,
  eventually,
  furnish,
  killAll,
  newDirectory,
  type Place,
  startChild,
  stopAll,
  verifyLog,
} from '../kit/node-process.ts';

const DISK_MAX_BYTES = 8 * 1024 * 1024;
const CANARY = 'canary-not-a-real-secret';
const mounts: string[] = [];

afterEach(async () => {
  await killAll();
  for (const path of mounts.splice(0)) execFileSync('umount', [path]);
});
afterAll(stopAll);

/** A small disk of its own; undefined where this account may not mount one. */
function smallDisk(): string | undefined {
  const path = join(newDirectory(), 'disk');
  mkdirSync(path);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MAX_BYTES},mode=0700`, 'tmpfs', path], { stdio: 'ignore' });
  } catch {
    return undefined;
  }
  mounts.push(path);
  return path;
}

function fill(path: string): void {
  for (const bytes of [1 << 20, 1 << 16, 1 << 12]) {
    try {
      for (let i = 0; ; i++) writeFileSync(join(path, `filler-${bytes}-${i}`), new Uint8Array(bytes));
    } catch {
      // full for this size
    }
  }
}

function empty(path: string): void {
  execFileSync('sh', ['-c', 'rm -f "$1"/filler-*', 'sh', path]);
}

interface Running {
  readonly service: ChildService;
  readonly place: Place;
  readonly client: Client;
  readonly acknowledged: Map<string, number>;
}

async function running(directory: string, fault?: string): Promise<Running> {
  const service = await startChild(directory, { fault });
  const place = await furnish(service.url, directory);
  const client = clientOf(service.url, place.workload);
  const acknowledged = new Map<string, number>();
  return { service, place, client, acknowledged };
}

async function put({ client, acknowledged }: Running, name: string, key = CANARY): Promise<Answer> {
  const answer = await client('PUT', `${CREDENTIALS}/${name}`, apiKey(key));
  if (answer.status < 300) acknowledged.set(name, answer.body.version);
  return answer;
}

/** What memory says, what the database says after a restart, and what the log says are the same. */
async function expectAgreement({ service, place, acknowledged }: Running): Promise<void> {
  const seen = async (url: string) => {
    const owner = clientOf(url, place.owner);
    const log = await verifyLog(owner, '/v1/tenants/acme');
    expect(log.findings).toEqual([]);
    const puts = eventsOf(log.lines).filter(({ action, outcome }) => action === 'credential.put' && outcome === 'success');
    const versions: Record<string, number> = {};
    for (const name of acknowledged.keys()) {
      versions[name] = (await owner('GET', `${CREDENTIALS}/${name}`)).body.version;
      expect(puts.filter(({ target }) => target.name === name).length).toBe(versions[name]);
    }
    expect(versions).toEqual(Object.fromEntries(acknowledged));
    return versions;
  };
  const inMemory = await seen(service.url);
  expect(await service.stop()).toMatchObject({ code: 0 });
  const again = await startChild(service.directory);
  expect(await seen(again.url)).toEqual(inMemory);
  await again.stop();
}

describe('a full disk', () => {
  it('answers writes and reads with 507 and no value, and heals without a restart when there is space again', async (context) => {
    const disk = smallDisk();
    if (disk === undefined) {
      console.warn('SKIPPED: the full disk test needs to mount a tmpfs, which this account may not');
      return context.skip();
    }
    const run = await running(disk);
    for (let i = 0; i < 5; i++) expect((await put(run, `c${i}`)).status).toBe(201);
    expect((await run.client('GET', `${CREDENTIALS}/c0/value`)).text).toContain(CANARY);

    fill(disk);
    let refused: Answer | undefined;
    for (let i = 0; i < 500 && refused === undefined; i++) {
      const answer = await put(run, `c${i % 5}`, `${CANARY}-${'x'.repeat(4_000)}`);
      if (answer.status !== 200) refused = answer;
    }
    expect(refused?.status, refused?.text).toBe(507);
    expect(refused?.body.code).toBe('storage_full');
    for (const path of [`${CREDENTIALS}/c0/value`, `${CREDENTIALS}/c1/value`, `${CREDENTIALS}/c0`]) {
      const answer = await run.client('GET', path);
      expect(answer.status, path).toBe(507);
      expect(answer.text).not.toContain(CANARY);
    }
    expect((await put(run, 'new')).status).toBe(507);

    const ill = await run.client('GET', '/health');
    expect([ill.status, ill.body.parts.storage]).toEqual([507, 'failing']);

    empty(disk);
    await eventually(async () => ((await run.client('GET', '/health')).status === 200 ? true : undefined));
    for (let i = 0; i < 5; i++) expect((await put(run, `c${i}`)).status).toBe(200);
    expect((await put(run, 'new')).status).toBe(201);
    expect((await run.client('GET', `${CREDENTIALS}/c0/value`)).body.value.key).toBe(CANARY);
    await expectAgreement(run);
  });

  it('does not let a start make half an installation', async (context) => {
    const disk = smallDisk();
    if (disk === undefined) {
      console.warn('SKIPPED: the full disk test needs to mount a tmpfs, which this account may not');
      return context.skip();
    }
    const directory = join(disk, 'data');
    fill(disk);
    await expect(startChild(directory)).rejects.toThrow(/storage_full|ENOSPC/);
    empty(disk);
    const run = await running(directory);
    expect((await put(run, 'a')).status).toBe(201);
    await run.service.stop();
  });
});

describe('a disk that cannot be written', () => {
  it('answers 503 and no value while it lasts, and heals without a restart', async (context) => {
    const run = await running(newDirectory());
    const limit = (bytes: string) =>
      execFileSync('prlimit', ['--pid', String(run.service.pid), `--fsize=${bytes}:unlimited`], { stdio: 'ignore' });
    try {
      limit('unlimited');
    } catch {
      console.warn('SKIPPED: the unwritable disk test needs prlimit');
      return context.skip();
    }
    for (let i = 0; i < 5; i++) expect((await put(run, `c${i}`)).status).toBe(201);
    limit('0'); // every write(2) to a file fails with EFBIG
    const answers = await Promise.all([
      put(run, 'c0'),
      put(run, 'new'),
      run.client('GET', `${CREDENTIALS}/c0/value`),
      run.client('GET', `${CREDENTIALS}/c1`),
      clientOf(run.service.url, run.place.owner)('POST', '/v1/tenants', { name: 'other' }),
    ]);
    expect(answers.map(({ status, body }) => [status, body.code])).toEqual(answers.map(() => [503, 'storage_unavailable']));
    for (const { text } of answers) expect(text).not.toContain(CANARY);
    limit('unlimited');
    for (let i = 0; i < 5; i++) expect((await put(run, `c${i}`)).status).toBe(200);
    expect((await run.client('GET', `${CREDENTIALS}/c0/value`)).body.value.key).toBe(CANARY);
    await expectAgreement(run);
  });

  it('refuses a start in one clear sentence', async (context) => {
    const disk = smallDisk();
    if (disk === undefined) {
      console.warn('SKIPPED: the read-only disk test needs to mount a tmpfs, which this account may not');
      return context.skip();
    }
    const run = await running(disk);
    await put(run, 'a');
    await run.service.stop();
    execFileSync('mount', ['-o', 'remount,ro', disk]);
    await expect(startChild(disk)).rejects.toThrow(/^storage_unavailable: /);
    execFileSync('mount', ['-o', 'remount,rw', disk]);
    const again = await startChild(disk);
    expect((await clientOf(again.url, run.place.workload)('GET', `${CREDENTIALS}/a/value`)).status).toBe(200);
    await again.stop();
  });
});

describe('a commit that fails', () => {
  it('answers everybody of its batch with an error, nothing of it took effect, and the next batch works', async () => {
    const run = await running(newDirectory(), 'cell.before-commit:error:30');
    const statuses: number[][] = [];
    for (let round = 0; round < 40; round++) {
      const answers = await Promise.all(Array.from({ length: 10 }, (_, i) => put(run, `c${i}`, `${CANARY}-${round}`)));
      statuses.push(answers.map(({ status }) => status));
      for (const { status, body } of answers)
        if (status >= 300) expect([status, body.code]).toEqual([503, 'storage_unavailable']);
    }
    const failed = statuses.findIndex((round) => round.some((status) => status === 503));
    expect(failed).toBeGreaterThanOrEqual(0);
    expect(failed).toBeLessThan(39);
    expect(
      statuses
        .slice(failed + 1)
        .flat()
        .every((status) => status < 300),
    ).toBe(true);
    await expectAgreement(run);
  });
});

describe('two first starts at once (ST-06)', () => {
  it('make one installation: the other is refused, and the next start finds it whole', async () => {
    for (let round = 0; round < 3; round++) {
      const directory = newDirectory();
      const starts = await Promise.allSettled([startChild(directory), startChild(directory)]);
      const up = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []));
      for (const start of starts) if (start.status === 'rejected') expect(String(start.reason)).toMatch(/conflict: |sealed: /);
      expect(up.length).toBe(1);
      const [service] = up;
      const place = await furnish(service?.url ?? '', directory);
      await service?.stop();
      const again = await startChild(directory);
      expect((await clientOf(again.url, place.owner)('GET', '/v1/tenants')).body.items).toHaveLength(1);
      await again.stop();
    }
  });
});
