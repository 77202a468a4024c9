// A receipt proves one rotation offline, in TypeScript and in another language, and no changed byte passes.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Caller } from '../../src/access/principals.ts';
import { type ReceiptBody, receiptOf, verifyReceipt } from '../../src/audit/receipt.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { newSigner, signReceipt } from '../../src/crypto/checkpoint.ts';
import { createDirectToken, createWorkload } from '../../src/vault/manage-workloads.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { readReceipt } from '../../src/vault/receipts.ts';
import { textOf } from '../kit/homes.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { type RotationBench, rotationBench, STRATEGIES } from '../kit/rotation-bench.ts';
import { eventsOf, inside } from '../kit/vaults.ts';

const hasPython = spawnSync('python3', ['--version']).status === 0;
if (!hasPython) console.warn('SKIPPED: the verifier in another language needs python3, which is not there');
const scratch = mkdtempSync(join(tmpdir(), 'keyturn-receipt-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Returns the tokens. */
async function readBy(bench: RotationBench, names: readonly string[]): Promise<readonly string[]> {
  const { tenant, vault } = bench;
  const admin = () => tenant.user(['admin'], 'everywhere');
  const tokens: string[] = [];
  for (const name of names) {
    const token = await vault.submit((job) => {
      createWorkload(job, admin(), { name, environment: 'staging', patterns: ['*'], permissions: ['read', 'rotate'], networks: [], jwks: undefined, ttlMs: 90 * 86_400_000 }); // biome-ignore format: one line
      return textOf(createDirectToken(job, admin(), { workload: name, permissions: undefined, ttlMs: 86_400_000 }).token);
    });
    const wanted = { environment: 'staging', name: 'db', version: undefined, stage: undefined };
    await vault.submit((job) => readCredential(job, tenant.token(token), wanted));
    tokens.push(token);
  }
  return tokens;
}

const receiptFrom = ({ vault, tenant }: RotationBench, runId = '') =>
  readReceipt(vault, tenant.user(['auditor'], 'everywhere'), { environment: 'staging', name: 'db', runId });

const keyOf = (bench: RotationBench) => inside(bench.vault).core.audit.verifierKey;

describe.each(STRATEGIES)('the receipt of a rotation with the strategy %s', (strategy) => {
  it('states what happened, and is valid without the service', async () => {
    const bench = await rotationBench(strategy);
    await bench.rotate();
    await bench.finish();
    const [rotation] = bench.rows('rotation');
    const [revocation] = bench.rows('revocation');
    const text = await receiptFrom(bench, rotation?.id);
    expect(await receiptFrom(bench, revocation?.id), 'of either run').toBe(text);
    const result = verifyReceipt(text, keyOf(bench));
    expect(result).toMatchObject({ ok: true, key: 'pinned', refused: undefined });
    expect(result.statement).toMatchObject({
      credential: { id: rotation?.credential_id, environment: 'staging', name: 'db', kind: 'database' },
      connector: 'made-up-target',
      strategy,
      plan: null,
      rotation: { run: rotation?.id, trigger: 'request' },
      approved_by: [],
      new_version: 2,
      new_value: { verdict: 'works', provider_status: null },
      old_version: 1,
      revocation: { run: revocation?.id },
      old_value: { verdict: 'proved_dead', exposed_at: null },
      late_readers: { count: 0, names: [] },
      steps_omitted: 0,
    });
    expect(result.statement?.steps.map(({ step }) => step)).toEqual(expect.arrayContaining(['test', 'finish', 'prove_dead']));
    expect(verifyReceipt(text)).toMatchObject({ ok: true, key: 'receipt' });
  });
});

describe('a receipt', () => {
  let bench: RotationBench;
  let text: string;
  beforeAll(async () => {
    bench = await rotationBench('overlap');
    await readBy(bench, ['api', 'batch']);
    await bench.rotate();
    bench.tenant.clock.pass(8 * 86_400_000);
    await bench.finish();
    text = await receiptFrom(bench, bench.rows('rotation')[0]?.id);
  });

  it('names who was late, and who had which version', () => {
    const { statement } = verifyReceipt(text, keyOf(bench));
    expect(statement?.late_readers).toEqual({ count: 2, names: expect.arrayContaining(['api', 'batch']) });
    expect(statement?.readers).toMatchObject({ count: 2, listed: [{ version: 1 }, { version: 1 }] });
  });

  it('stays the same when the log grows', async () => {
    for (let i = 0; i < 9; i++) await bench.read();
    bench.tenant.clock.pass(5_000);
    await bench.read();
    expect(await receiptFrom(bench, bench.rows('rotation')[0]?.id)).toBe(text);
  });

  it('is refused with any one byte changed, removed or added', () => {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      const less = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
      const more = Buffer.concat([bytes.subarray(0, at), Buffer.from(' '), bytes.subarray(at)]);
      for (const one of [changed, less, more])
        expect(verifyReceipt(one.toString('latin1'), keyOf(bench)).ok, `byte ${at}`).toBe(false);
    }
  });

  it('is refused with any one field changed, in its own form', () => {
    const paths: (string | number)[][] = [];
    const walk = (value: unknown, path: (string | number)[]) => {
      if (typeof value === 'object' && value !== null)
        for (const [name, inner] of Object.entries(value)) walk(inner, [...path, Array.isArray(value) ? Number(name) : name]);
      else paths.push(path);
    };
    walk(JSON.parse(text), []);
    expect(paths.length).toBeGreaterThan(60);
    for (const path of paths) {
      const whole = JSON.parse(text) as Record<string, unknown>;
      const holder = path.slice(0, -1).reduce<Record<string, unknown>>((at, name) => at[name] as Record<string, unknown>, whole);
      const last = String(path.at(-1));
      const was = holder[last];
      holder[last] = typeof was === 'number' ? was + 1 : typeof was === 'string' ? `${was}x` : 'x';
      expect(verifyReceipt(`${JSON.stringify(whole)}\n`, keyOf(bench)).ok, path.join('.')).toBe(false);
      delete holder[last];
      expect(verifyReceipt(`${JSON.stringify(whole)}\n`, keyOf(bench)).ok, `without ${path.join('.')}`).toBe(false);
    }
  });

  it('is refused under another key, and when the log has another event than it states, even if the vault signed it', () => {
    const { receipt: _, signature: _signature, ...body } = JSON.parse(text) as ReceiptBody & Record<string, unknown>;
    const forger = newSigner(body.origin);
    const forged = receiptOf({ ...body, verifier_key: forger.vkey }, (signed) =>
      signReceipt(forger, { origin: body.origin, ...signed }),
    );
    expect(verifyReceipt(forged, keyOf(bench))).toMatchObject({
      ok: false,
      refused: expect.stringContaining('another verifier key'),
    });
    const own = (statement: object) =>
      receiptOf({ ...body, statement: { ...body.statement, ...statement } }, (signed) =>
        inside(bench.vault).core.audit.receiptNote(signed),
      );
    expect(verifyReceipt(own({}), keyOf(bench)).ok).toBe(true);
    for (const lie of [{ old_version: 7 }, { credential: { ...body.statement.credential, id: 'crd_other' } }, { old_value: { ...body.statement.old_value, verdict: 'unproven' } }]) // biome-ignore format: one line
      expect(verifyReceipt(own(lie as object), keyOf(bench)).refused).toBe(
        'the event in the log says something else than the receipt',
      );
  });

  it.skipIf(!hasPython)('is checked by a verifier in another language in the same way', () => {
    const python = (content: string, key = keyOf(bench)) => {
      const file = join(scratch, 'receipt.json');
      writeFileSync(file, content);
      // With -O, which leaves assertions out.
      const args = ['-O', join(import.meta.dirname, 'verify_receipt.py'), file, '--key', key];
      return spawnSync('python3', args, { encoding: 'utf8' });
    };
    expect(python(text)).toMatchObject({ status: 0, stdout: 'valid: proved_dead\n' });
    for (let at = 0; at < text.length; at += 701) {
      const changed = text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1);
      expect(python(changed).status, `byte ${at}`).toBe(8);
    }
    for (const other of [newSigner('keyturn/other').vkey, '']) expect(python(text, other).status, other).toBe(8);
    expect(readFileSync(join(import.meta.dirname, 'verify_receipt.py'), 'utf8').split('\n').length).toBeLessThan(70);
  });
});

it('a receipt has at most 8 KB, however much happened', async () => {
  const bench = await rotationBench('overlap');
  await readBy(
    bench,
    Array.from({ length: 14 }, (_, i) => `${'long-'.repeat(12)}${String(i).padStart(4, '0')}`),
  );
  for (let i = 0; i < 12; i++)
    bench.target.failures.push({ step: 'revoke', outcome: { kind: 'refused', means: 'transient', cause: 'made_up' } });
  await bench.rotate();
  bench.tenant.clock.pass(8 * 86_400_000);
  await bench.finish(60);
  const text = await receiptFrom(bench, bench.rows('rotation')[0]?.id);
  expect(Buffer.byteLength(text)).toBeLessThanOrEqual(LIMITS.receiptMaxBytes);
  const { ok, statement } = verifyReceipt(text, keyOf(bench));
  expect(ok).toBe(true);
  expect(statement?.steps_omitted).toBeGreaterThan(0);
  expect(statement?.late_readers.count).toBe(14);
});

describe('a workload, which may not list readers,', () => {
  it('finds them neither in a plan nor in a receipt', async () => {
    const bench = await rotationBench('overlap');
    const { tenant, vault, runs } = bench;
    const [token = ''] = await readBy(bench, ['api', 'batch']);
    const plan = (caller: Caller) => vault.submit((job) => runs.plan(job, caller, 'staging', 'db'));
    const owner = await plan(tenant.user(['admin'], 'everywhere'));
    expect(owner.readers.map(({ name }) => name).sort()).toEqual(['api', 'batch']);
    expect(await plan(tenant.token(token))).toEqual({ ...owner, readers: [] });
    await bench.rotate();
    tenant.clock.pass(8 * 86_400_000);
    await bench.finish();
    const named = { environment: 'staging', name: 'db', runId: bench.rows('rotation')[0]?.id ?? '' };
    await expect(readReceipt(vault, tenant.token((await readBy(bench, ['late']))[0] ?? ''), named)).rejects.toMatchObject({
      code: 'forbidden',
    });
    expect(await outcomeOf(receiptFrom(bench, named.runId))).toBe('ok');
  });
});

describe('there is no receipt', () => {
  it.each([
    ['deleted', 'DELETE FROM run_step'],
    ['edited', "UPDATE run_step SET status = status || '-'"],
  ])('when a line of a journal was %s', async (_how, change) => {
    const bench = await rotationBench('overlap');
    await bench.rotate();
    await bench.finish();
    const { sql } = bench.tenant;
    const outcome = () => outcomeOf(receiptFrom(bench, bench.rows('rotation')[0]?.id));
    sql.run('CREATE TEMP TABLE kept AS SELECT * FROM run_step');
    const lines = sql.all<{ run_id: string; sequence: number }>('SELECT run_id, sequence FROM kept');
    expect(lines.length).toBeGreaterThan(4);
    for (const { run_id, sequence } of lines) {
      sql.run(`${change} WHERE run_id = ? AND sequence = ?`, run_id, sequence);
      expect(await outcome(), `line ${sequence}`).toBe('integrity');
      sql.run('INSERT OR REPLACE INTO run_step SELECT * FROM kept');
      expect(await outcome()).toBe('ok');
    }
  });

  it('before the old value has ended, for a failed rotation, or for a run of nobody', async () => {
    const bench = await rotationBench('overlap');
    await bench.rotate();
    const outcome = (runId?: string) => outcomeOf(receiptFrom(bench, runId));
    expect(await outcome(bench.rows('rotation')[0]?.id)).toBe('conflict');
    expect(await outcome('run_none')).toBe('not_found');
    bench.target.verdict = 'rejected';
    await bench.rotate();
    await bench.finish();
    expect(await outcome(bench.rows('rotation')[1]?.id)).toBe('conflict');
  });

  it('when the runs in the database do not fit the log', async () => {
    const bench = await rotationBench('overlap');
    await bench.rotate();
    await bench.finish();
    const [rotation] = bench.rows('rotation');
    bench.tenant.sql.run(
      "UPDATE audit_block SET bytes = CAST(replace(CAST(bytes AS TEXT), 'proved_dead', 'proved_daed') AS BLOB)",
    );
    expect(await outcomeOf(receiptFrom(bench, rotation?.id))).toBe('integrity');
    expect(eventsOf(bench.tenant.sql).length).toBeGreaterThan(0);
  });
});
