// What is deleted is gone from every file of the data directory: carved for, byte by byte, in databases, write-ahead logs and all else.

import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { purgeExpired } from '../../rotation/engine/house-keeping.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { destroyCredential } from '../../src/vault/change-credential.ts';
import { createDirectToken } from '../../src/vault/manage-workloads.ts';
import { changeRows } from '../kit/anchored.ts';
import { putKey, type TestTenant, testTenant, workloadToken } from '../kit/vaults.ts';

const made: string[] = [];
const open: TestTenant[] = [];
afterEach(() => {
  for (const tenant of open.splice(0)) tenant.vault.close();
  for (const directory of made.splice(0)) rmSync(directory, { recursive: true, force: true });
});

const newDirectory = () => {
  const directory = mkdtempSync(join(tmpdir(), 'keyturn-residue-'));
  made.push(directory);
  return directory;
};

async function onDisk(): Promise<TestTenant & { readonly directory: string }> {
  const directory = join(newDirectory(), 'data');
  const tenant = await testTenant({ sql: openNodeSql(join(directory, 'acme.db')), demo: true });
  open.push(tenant);
  return { ...tenant, directory };
}

/** Files that hold any of these bytes, and which. */
function carve(directory: string, wanted: Readonly<Record<string, Uint8Array>>): string[] {
  const found: string[] = [];
  for (const file of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    const path = join(directory, file);
    if (!statSync(path).isFile()) continue;
    const content = readFileSync(path);
    for (const [name, bytes] of Object.entries(wanted))
      if (content.includes(Buffer.from(bytes))) found.push(`${name} in ${file}`);
  }
  return found;
}

interface VersionRow {
  readonly version: number;
  readonly wrapped_key: Uint8Array;
  readonly value: Uint8Array;
}

/** Of a value that overflows its page only the parts within one page lie together. */
const piece = (bytes: Uint8Array) => bytes.slice(-64);

function versionsOf(tenant: TestTenant, name: string): Record<string, Uint8Array> {
  const rows = tenant.sql.all<VersionRow & Record<string, never>>(
    'SELECT v.version, v.wrapped_key, v.value FROM credential_version v JOIN credential c ON c.id = v.credential_id WHERE c.name = ?',
    name,
  );
  const parts = rows.flatMap(({ version, wrapped_key, value }) => [
    [`wrapped key ${version} of ${name}`, wrapped_key],
    [`value ${version} of ${name}`, piece(value)],
  ]);
  return Object.fromEntries(parts);
}

const destroy = (tenant: TestTenant, name: string) =>
  tenant.vault.submit((job) =>
    destroyCredential(job, tenant.user(['owner'], 'everywhere', { bootstrap: true }), {
      environment: 'staging',
      name,
      precondition: {},
    }),
  );

/** A minute passes. */
async function minute(tenant: TestTenant): Promise<void> {
  tenant.clock.pass(LIMITS.residueMaxMs);
  for (const wake of tenant.wakes.splice(0)) wake();
  await tenant.vault.submit(() => {});
}

describe('when destroy has answered', () => {
  it('neither the sealed value nor its wrapped key is in any file, whatever was written before and beside it', async () => {
    const tenant = await onDisk();
    for (let round = 0; round < 12; round++) {
      await putKey(tenant, 'small', `small-${round}-not-a-real-secret`);
      await putKey(tenant, 'large', `large-${round}-${'not-a-real-secret'.repeat(2_000)}`);
      await putKey(tenant, `beside-${round}`, 'beside-not-a-real-secret'.repeat(1 + (round % 5) * 40));
    }
    for (const name of ['small', 'beside-3', 'large', 'beside-7', 'beside-11']) {
      const wanted = versionsOf(tenant, name);
      expect(Object.keys(wanted).length).toBeGreaterThan(1);
      expect(carve(tenant.directory, wanted).length, 'the carving finds them before').toBeGreaterThan(0);
      await destroy(tenant, name);
      expect(carve(tenant.directory, wanted), name).toEqual([]);
    }
    expect(carve(tenant.directory, versionsOf(tenant, 'beside-0')), 'what was not destroyed').not.toEqual([]);
  });

  it('does not answer that it is gone when the files could not be cleaned', async () => {
    const tenant = await onDisk();
    await putKey(tenant, 'stripe', 'not-a-real-secret');
    const { eraseResidue } = tenant.sql;
    tenant.sql.eraseResidue = () => {
      throw new Error('a reader holds the log');
    };
    await expect(destroy(tenant, 'stripe')).rejects.toMatchObject({ code: 'storage_unavailable' });
    tenant.sql.eraseResidue = eraseResidue;
  });
});

describe('a minute after they went', () => {
  it('versions beyond those kept, expired tokens and answers kept for repetition are in no file', async () => {
    const tenant = await onDisk();
    const { vault, sql, clock } = tenant;
    await putKey(tenant, 'often', 'not-a-real-secret-0');
    const pruned = versionsOf(tenant, 'often');
    for (let i = 1; i <= LIMITS.versionsKept + 3; i++) await putKey(tenant, 'often', `not-a-real-secret-${i}`);
    expect(Object.keys(versionsOf(tenant, 'often'))).not.toContain('value 1 of often');
    const { id } = await workloadToken(tenant, { name: 'sync' });
    const admin = tenant.user(['admin'], 'everywhere');
    await vault.submit((job) => createDirectToken(job, admin, { workload: id, permissions: undefined, ttlMs: 60_000 }));
    const kept = { status: 201, body: new TextEncoder().encode('{"token":"not-a-real-secret"}') };
    const repeat = { key: 'k', hash: new Uint8Array(32) };
    await vault.submit((job) => job.door.once(admin, 'token.create', repeat, () => ({ kept, value: 1 })));
    const hashes = sql.all<{ hash: Uint8Array }>("SELECT hash FROM token WHERE type = 'wlk'").map((row) => row.hash);
    const [answer] = sql.all<{ wrapped_key: Uint8Array; value: Uint8Array }>('SELECT wrapped_key, value FROM idempotency');
    const wanted = { ...pruned, 'token hash': hashes[0] as Uint8Array, 'kept answer': answer?.value as Uint8Array, 'its key': answer?.wrapped_key as Uint8Array }; // biome-ignore format: one line
    clock.pass(60_000 + 2 * LIMITS.idempotencyKeepMs);
    await vault.submit((job) => purgeExpired(job));
    expect(sql.get("SELECT count(*) AS n FROM token WHERE type = 'wlk'")?.['n']).toBe(0);
    expect(sql.get('SELECT count(*) AS n FROM idempotency')?.['n']).toBe(0);
    expect(carve(tenant.directory, wanted).length, 'the carving finds them before').toBeGreaterThan(0);
    await minute(tenant);
    expect(carve(tenant.directory, wanted)).toEqual([]);
  });

  it('a destroyed key is in no file, as soon as the batch that destroyed it is answered', async () => {
    const tenant = await onDisk();
    const { sql, vault } = tenant;
    const key = sql.get<{ key_id: string; wrapped: Uint8Array }>(
      "SELECT key_id, wrapped FROM tenant_key WHERE purpose = 'backup'",
    );
    await vault.submit((job) =>
      changeRows(job.core.rows, 'tenant_key', `key_id = '${key?.key_id}'`, () => ({ state: 'decrypt_only' })),
    );
    const wanted = { 'wrapped key': key?.wrapped as Uint8Array };
    expect(carve(tenant.directory, wanted)).not.toEqual([]);
    await vault.submit((job) => {
      job.core.keyring.destroy(key?.key_id ?? '', tenant.clock.now());
      job.core.cell.eraseResidue();
    });
    expect(carve(tenant.directory, wanted)).toEqual([]);
  });
});

describe('what a killed process had deleted', () => {
  it('is in no file once the next one has opened', async () => {
    const tenant = await onDisk();
    await putKey(tenant, 'often', 'not-a-real-secret-0');
    const wanted = versionsOf(tenant, 'often');
    for (let i = 1; i <= LIMITS.versionsKept + 3; i++) await putKey(tenant, 'often', `not-a-real-secret-${i}`);
    const copy = join(newDirectory(), 'data');
    mkdirSync(copy, { mode: 0o700 });
    for (const file of readdirSync(tenant.directory)) copyFileSync(join(tenant.directory, file), join(copy, file));
    expect(carve(copy, wanted), 'the carving finds them before').not.toEqual([]);
    const again = tenant.reopen(undefined, openNodeSql(join(copy, 'acme.db')));
    expect(carve(copy, wanted)).toEqual([]);
    again.close();
  });
});
