// The rotation of the root key of a running service: killed at every persisted step and started again, it goes on; afterwards the new root key
// alone opens everything and the old one opens nothing.
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { FaultPoint } from '../../src/base/faults.ts';
import { headerOf } from '../../src/crypto/envelope.ts';
import { rootKeyFromText } from '../../src/crypto/root-key.ts';
import {
  apiKey,
  type ChildService,
  CREDENTIALS,
  clientOf,
  eventsOf,
  eventually,
  furnish,
  newDirectory,
  type Place,
  startChild,
  stopAll,
  verifyLog,
  withDatabase,
} from '../kit/node-process.ts';

afterAll(stopAll);

const ROTATIONS = '/v1/installation/root/rotations';
const SECRET = 'one-not-a-real-secret';

interface Furnished {
  readonly directory: string;
  readonly place: Place;
  readonly service: ChildService;
}

async function furnished(options: Parameters<typeof startChild>[1] = {}): Promise<Furnished> {
  const directory = newDirectory();
  const service = await startChild(directory, options);
  const place = await furnish(service.url, directory);
  const owner = clientOf(service.url, place.owner);
  for (const name of ['beta', 'gamma']) expect((await owner('POST', '/v1/tenants', { name })).status).toBe(201);
  await clientOf(service.url, place.workload)('PUT', `${CREDENTIALS}/a`, apiKey(SECRET));
  expect((await owner('POST', '/v1/tenants/acme/webhooks', { url: 'https://hooks.example/', kinds: [] })).status).toBe(201);
  return { directory, place, service };
}

const state = async (url: string, place: Place) => (await clientOf(url, place.owner)('GET', '/v1/installation/root')).body;

async function finished(url: string, place: Place): Promise<void> {
  await eventually(async () => {
    const body = await state(url, place);
    return body.rotating_since === null && body.done === body.total;
  }, 40_000);
}

/** Everything that depends on the root key: values, tokens of users and workloads, cursors, the state of every cell, the log. */
async function expectWhole(url: string, place: Place): Promise<void> {
  const owner = clientOf(url, place.owner);
  expect((await clientOf(url, place.workload)('GET', `${CREDENTIALS}/a/value`)).body.value.key).toBe(SECRET);
  for (const name of ['acme', 'beta', 'gamma'])
    expect((await owner('GET', `/v1/tenants/${name}/environments`)).body.items).toHaveLength(2);
  expect((await verifyLog(owner, '/v1/tenants/acme')).findings).toEqual([]);
  expect((await verifyLog(owner, '/v1')).findings).toEqual([]);
}

/** Every blob in a database of the directory that is wrapped under a root key, by the root key that it names. */
function wrappedBlobs(directory: string, place: Place, tenants: readonly string[]): { place: string; root: string }[] {
  const files = ['home.db', 'register/register.db', ...[place.tenantId, ...tenants].map((id) => `tenants/${id}.db`)];
  return files.flatMap((file) =>
    withDatabase(join(directory, file), (database) => {
      const tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all() as { name: string }[];
      return tables.flatMap(({ name }) =>
        (database.prepare(`SELECT * FROM "${name}"`).all() as Record<string, unknown>[]).flatMap((row) =>
          Object.entries(row).flatMap(([column, value]) => {
            const root = Buffer.isBuffer(value) ? rootNamedIn(value) : undefined;
            return root === undefined ? [] : [{ place: `${file} ${name}.${column}`, root }];
          }),
        ),
      );
    }),
  );
}

function rootNamedIn(blob: Buffer): string | undefined {
  try {
    const { keyId } = headerOf(blob);
    return keyId.startsWith('root_') ? keyId : undefined;
  } catch {
    return undefined;
  }
}

const rootIdOf = (path: string) => rootKeyFromText(readFileSync(path, 'utf8')).id;

async function idsOf(url: string, place: Place): Promise<string[]> {
  const { body } = await clientOf(url, place.owner)('GET', '/v1/tenants');
  return body.items.map(({ id }: { id: string }) => id).filter((id: string) => id !== place.tenantId);
}

describe('a rotation of the root key', () => {
  it('moves everything that is wrapped under a root key to the new one, while the service runs', {
    timeout: 120_000,
  }, async () => {
    const { directory, place, service } = await furnished();
    const tenants = await idsOf(service.url, place);
    const keyfile = join(directory, 'root.key');
    const old = rootIdOf(keyfile);
    copyFileSync(keyfile, join(directory, 'old.key'));
    expect((await clientOf(service.url, place.workload)('POST', ROTATIONS)).status).toBe(401);
    const begun = await clientOf(service.url, place.owner)('POST', ROTATIONS);
    expect([begun.status, begun.body.total]).toEqual([202, 5]);
    await finished(service.url, place);
    await expectWhole(service.url, place);
    await service.stop();

    const present = rootIdOf(keyfile);
    expect(present).not.toBe(old);
    expect(rootIdOf(`${keyfile}.previous`)).toBe(old);
    const blobs = wrappedBlobs(directory, place, tenants);
    // The walk: whatever else is wrapped under a root key one day must be in this list, and so in the rotation.
    expect([...new Set(blobs.map((blob) => blob.place.replace(/tenants\/\S+/, 'tenant')))].sort()).toEqual([
      'home.db tenant_key.wrapped',
      'register/register.db erasure_key.wrapped',
      'register/register.db installation_key.wrapped',
      'tenant tenant_key.wrapped',
    ]);
    expect(new Set(blobs.map(({ root }) => root))).toEqual(new Set([present]));
    expect(JSON.parse(readFileSync(join(directory, 'installation.json'), 'utf8')).previous).toBeUndefined();

    await expect(startChild(directory, { rootKeyFile: join(directory, 'old.key') })).rejects.toThrow(/sealed.*does not belong/);
    const again = await startChild(directory);
    await expectWhole(again.url, place);
    const { lines } = await verifyLog(clientOf(again.url, place.owner), '/v1');
    const stages = eventsOf(lines).filter(({ action }) => action === 'root.rotate');
    expect(stages.map(({ details, outcome }) => [(details as { stage?: string })?.stage, outcome])).toEqual([
      ['requested', 'success'],
      ['begun', 'success'],
      ['finished', 'success'],
    ]);
    await again.stop();
  });

  const points: readonly (FaultPoint | `${FaultPoint}:kill:${number}`)[] = [
    'root.after-key',
    'root.after-switch',
    'root.after-place',
    'root.mid-register',
    'root.mid-cell',
    'root.mid-cell:kill:2',
    'root.mid-cell:kill:4',
    'root.before-finish',
    'root.after-finish',
  ];
  it.each(points)('that dies at %s goes on at the next start', { timeout: 120_000 }, async (fault) => {
    const { directory, place, service } = await furnished({ fault });
    const keyfile = join(directory, 'root.key');
    copyFileSync(keyfile, join(directory, 'old.key'));
    await clientOf(service.url, place.owner)('POST', ROTATIONS).catch(() => undefined);
    expect(await service.exited).toEqual({ code: null, signal: 'SIGKILL' });
    const second = await startChild(directory);
    if (fault === 'root.after-key') {
      // The installation does not name the new key yet: nothing has happened, and the next rotation uses it.
      expect((await state(second.url, place)).rotating_since).toBeNull();
      expect((await clientOf(second.url, place.owner)('POST', ROTATIONS)).status).toBe(202);
    }
    await expectWhole(second.url, place);
    await finished(second.url, place);
    await expectWhole(second.url, place);
    await second.stop();
    expect(existsSync(`${keyfile}.next`)).toBe(false);
    expect(new Set(wrappedBlobs(directory, place, []).map(({ root }) => root))).toEqual(new Set([rootIdOf(keyfile)]));
    await expect(startChild(directory, { rootKeyFile: join(directory, 'old.key') })).rejects.toThrow(/sealed/);
    const third = await startChild(directory);
    await expectWhole(third.url, place);
    await third.stop();
  });

  it('is refused while one is under way, and while the keyfile of the one before is still there', {
    timeout: 120_000,
  }, async () => {
    const { directory, place, service } = await furnished({ fault: 'root.mid-cell:stall' });
    const owner = clientOf(service.url, place.owner);
    const first = owner('POST', ROTATIONS).catch(() => undefined);
    await eventually(() => existsSync(join(directory, 'root.key.previous')));
    await service.kill();
    await first;
    const second = await startChild(directory);
    await finished(second.url, place);
    const again = await clientOf(second.url, place.owner)('POST', ROTATIONS);
    expect([again.status, again.body.code]).toEqual([409, 'conflict']);
    expect(again.body.detail).toContain('root.key.previous');
    await second.stop();
  });

  it('waits for a cell that cannot be opened, and goes on when it can', { timeout: 120_000 }, async () => {
    const { directory, place, service } = await furnished();
    await service.stop();
    const path = join(directory, 'tenants', `${place.tenantId}.db`);
    const content = readFileSync(path);
    writeFileSync(path, content.subarray(0, 100));
    const second = await startChild(directory);
    expect((await clientOf(second.url, place.owner)('POST', ROTATIONS)).status).toBe(202);
    const blocked = await eventually(async () => {
      const body = await state(second.url, place);
      return body.blocked.length > 0 ? body : undefined;
    });
    expect(blocked).toMatchObject({ done: 4, total: 5, blocked: [{ id: place.tenantId }] });
    await second.stop();
    writeFileSync(path, content);
    const third = await startChild(directory);
    await finished(third.url, place);
    await expectWhole(third.url, place);
    await third.stop();
  });

  it('moves the root key from the keyfile to a passphrase, with both options and --next-root', { timeout: 120_000 }, async () => {
    const { directory, place, service } = await furnished();
    await service.stop();
    const passphraseFile = join(directory, 'phrase');
    writeFileSync(passphraseFile, 'correct horse battery staple, not a real secret\n', { mode: 0o600 });
    const second = await startChild(directory, { passphraseFile, nextRoot: 'passphrase' });
    expect((await clientOf(second.url, place.owner)('POST', ROTATIONS)).status).toBe(202);
    await finished(second.url, place);
    expect((await state(second.url, place)).provider).toBe('passphrase');
    await second.stop();
    await expect(startChild(directory)).rejects.toThrow(/opens with its passphrase/);
    const third = await startChild(directory, { passphraseFile });
    await expectWhole(third.url, place);
    await third.stop();
  });

  it('keeps the passphrase: the new header derives another root key from it', { timeout: 120_000 }, async () => {
    const passphraseFile = join(newDirectory(), 'phrase');
    writeFileSync(passphraseFile, 'correct horse battery staple, not a real secret\n', { mode: 0o600 });
    const { directory, place, service } = await furnished({ passphraseFile });
    const before = readFileSync(join(directory, 'installation.json'), 'utf8');
    expect((await clientOf(service.url, place.owner)('POST', ROTATIONS)).status).toBe(202);
    await finished(service.url, place);
    await service.stop();
    const after = readFileSync(join(directory, 'installation.json'), 'utf8');
    expect(JSON.parse(after).root.header).not.toBe(JSON.parse(before).root.header);
    writeFileSync(join(directory, 'installation.json'), before);
    await expect(startChild(directory, { passphraseFile })).rejects.toThrow();
    writeFileSync(join(directory, 'installation.json'), after);
    const again = await startChild(directory, { passphraseFile });
    await expectWhole(again.url, place);
    await again.stop();
  });
});
