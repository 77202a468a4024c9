// A database that an earlier build wrote is brought up to date with everything in it: values, row checks, log.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { ExportVerifier } from '../../src/audit/verify-export.ts';
import { NO_FAULTS } from '../../src/base/faults.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import { latestSchemaVersion, schemaVersion } from '../../src/cell/migrations.ts';
import { RootKey } from '../../src/crypto/root-key.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { describeCredential, listVersions } from '../../src/vault/describe-credential.ts';
import { exportAudit } from '../../src/vault/read-audit.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { TenantVault } from '../../src/vault/tenant-vault.ts';
import { testAuthorizer } from '../kit/cedar.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { TestClock, testEntropy } from '../kit/vaults.ts';

const FROZEN = readFileSync(new URL('../vectors/tenant-schema-1.sql', import.meta.url), 'utf8');
const TENANT = { id: 'ten_0frozen0frozen0frozen0fro', name: 'acme', demo: true };
let requests = 0;

function openFrozen() {
  const sql = openNodeSql(':memory:');
  sql.script(FROZEN);
  expect(schemaVersion(sql)).toBe(1);
  const clock = new TestClock();
  clock.pass(60_000);
  const vault = new TenantVault({
    tenant: TENANT,
    sql,
    erasureKey: SecretValue.of(Uint8Array.from({ length: 32 }, (_, i) => (i * 101 + 7) % 256)),
    around: {
      clock,
      entropy: testEntropy,
      faults: NO_FAULTS,
      nextTick: (task) => void setImmediate(task),
      later: () => {},
      witness: { publish: () => {} },
      root: RootKey.of(Uint8Array.from({ length: 32 }, (_, i) => (i * 73 + 11) % 256)),
      installationId: 'ins_0frozen0frozen0frozen0fro',
    },
    authorizer: testAuthorizer(),
    admit: () => {},
    onDueChanged: () => {},
  });
  const owner = () => ({
    token: undefined,
    source: { address: '127.0.0.1', userAgent: 'vitest' },
    request: `req_upgrade${++requests}`,
    user: {
      id: 'usr_owner',
      name: 'someone',
      revision: 1,
      bootstrap: true,
      grants: [{ role: 'owner' as const, tenantId: '*' }],
      tokenId: 'token',
    },
  });
  return { sql, vault, owner };
}

it('opens a database of the first schema step and serves what it holds', async () => {
  const { sql, vault, owner } = openFrozen();
  expect(schemaVersion(sql)).toBe(latestSchemaVersion('tenant'));
  const read = (name: string, version?: number) =>
    vault.submit(() => readCredential(vault, owner(), { environment: 'staging', name, version, stage: undefined }));
  const text = async (name: string, version?: number) => new TextDecoder().decode((await read(name, version)).body);
  expect(await text('search-key')).toContain('frozen-key-2-not-a-real-secret');
  expect(await text('search-key', 1)).toContain('frozen-key-not-a-real-secret');
  expect(await text('crm')).toContain('frozen-access-not-a-real-secret');
  const versions = await vault.submit(() => listVersions(vault, owner(), 'staging', 'search-key', Number.MAX_SAFE_INTEGER, 10));
  expect(versions.rows.map(({ version, origin }) => [version, origin])).toEqual([
    [2, 'put'],
    [1, 'put'],
  ]);
  const deleted = await vault.submit(() => describeCredential(vault, owner(), 'staging', 'gone'));
  expect(deleted.row).toMatchObject({ state: 'deleted', grant_facts: '{}', grant_ends_at: null });
  expect(sql.get('SELECT count(*) AS n FROM workload')).toEqual({ n: 1 });
  const verifier = new ExportVerifier({ verifierKey: vault.core.audit.verifierKey });
  let exported = '';
  for await (const slice of exportAudit(vault, owner())) exported += new TextDecoder().decode(slice);
  for (const line of exported.trimEnd().split('\n')) verifier.push(line);
  expect(verifier.finish()).toMatchObject({ findings: [] });
});

it('notices a later column that was changed behind its back, also in a row no later build has written', async () => {
  const { sql, vault, owner } = openFrozen();
  sql.run(`UPDATE credential SET grant_facts = '{"consentedAt":1}' WHERE name = 'crm'`);
  expect(await outcomeOf(vault.submit(() => describeCredential(vault, owner(), 'staging', 'crm')))).toBe('integrity');
});
