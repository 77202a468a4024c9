// CR-08: over 20,000 writes, with a copy of the whole installation forked off halfway, no salt and no nonce occurs twice.
import { cpSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { headerOf } from '../../src/crypto/envelope.ts';
import {
  apiKey,
  CREDENTIALS,
  clientOf,
  furnish,
  newDirectory,
  type Place,
  startChild,
  stopAll,
  tenantPath,
  withDatabase,
} from '../kit/node-process.ts';

const KEY_ID_AT = 9;
const [SALT_BYTES, NONCE_BYTES] = [32, 12];
const COLUMNS = [
  ['credential_version', 'wrapped_key'],
  ['credential_version', 'value'],
  ['credential_version', 'retained'],
  ['tenant_key', 'wrapped'],
  ['audit_source', 'wrapped_key'],
  ['audit_source', 'value'],
] as const;

afterAll(stopAll);

async function writes(directory: string, place: Place | undefined, from: number, count: number): Promise<Place> {
  const service = await startChild(directory);
  const known = place ?? (await furnish(service.url, directory));
  const put = clientOf(service.url, known.workload);
  let next = from;
  const writer = async () => {
    for (let i = next++; i < from + count; i = next++) {
      const { status } = await put('PUT', `${CREDENTIALS}/c${i % 400}`, apiKey(`${i}-not-a-real-secret`));
      if (status >= 300) throw new Error(`a put answered ${status}`);
    }
  };
  await Promise.all(Array.from({ length: 32 }, writer));
  await service.stop();
  return known;
}

/** Every sealed blob of a database, once. */
function blobsOf(path: string): Buffer[] {
  return withDatabase(path, (database) =>
    COLUMNS.flatMap(([table, column]) =>
      (database.prepare(`SELECT ${column} AS blob FROM ${table} WHERE ${column} IS NOT NULL`).all() as { blob: Buffer }[]).map(
        ({ blob }) => blob,
      ),
    ),
  );
}

describe('salts and nonces', () => {
  it('never repeat, not even when a copy of the installation lives on beside it', { timeout: 120_000 }, async () => {
    const directory = newDirectory();
    const fork = newDirectory();
    const place = await writes(directory, undefined, 0, 10_000);
    cpSync(directory, fork, { recursive: true });
    await writes(directory, place, 10_000, 5_000);
    await writes(fork, place, 10_000, 5_000);
    const all = [directory, fork].flatMap((each) => blobsOf(tenantPath(each, place.tenantId)));
    const blobs = [...new Map(all.map((blob) => [blob.toString('base64'), blob])).values()];
    expect(blobs.length).toBeGreaterThan(2 * 20_000);
    const salts = new Set<string>();
    const nonces = new Set<string>();
    for (const blob of blobs) {
      const saltAt = KEY_ID_AT + headerOf(blob).keyId.length;
      salts.add(blob.toString('base64', saltAt, saltAt + SALT_BYTES));
      nonces.add(blob.toString('base64', saltAt + SALT_BYTES, saltAt + SALT_BYTES + NONCE_BYTES));
    }
    expect(salts.size).toBe(blobs.length);
    expect(nonces.size).toBe(blobs.length);
  });
});
