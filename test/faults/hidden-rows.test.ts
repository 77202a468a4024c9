// CR-03, D15: an index edited so that a list leaves out a token. Revoking a workload and offboarding a person must end it all the same:
// that they are gone is said by their own row, never by a list of their tokens.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { HomeVault } from '../../src/vault/home-vault.ts';
import { createUser, createUserToken, offboardUser } from '../../src/vault/manage-users.ts';
import { createClientSecret, revokeWorkload } from '../../src/vault/manage-workloads.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { testTeam, textOf } from '../kit/homes.ts';
import { withDatabase } from '../kit/node-process.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { authorizer, inside, putKey, testTenant, workloadToken } from '../kit/vaults.ts';

const directory = mkdtempSync(join(tmpdir(), 'keyturn-hidden-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Takes every token out of the index that lists tokens by their subject, and leaves its declaration as it was. */
function hideTokens(path: string): void {
  withDatabase(path, (database) => {
    const index = "type = 'index' AND tbl_name = 'token' AND sql LIKE '%(subject_id%'";
    const declared = database.prepare(`SELECT name, sql FROM sqlite_master WHERE ${index}`).all() as {
      name: string;
      sql: string;
    }[];
    expect(declared).toHaveLength(1);
    const [{ name, sql } = { name: '', sql: '' }] = declared;
    database.exec(`DROP INDEX ${name}; ${sql} WHERE public_id = ''`);
    database.unsafeMode(true);
    database.pragma('writable_schema = ON');
    database.prepare(`UPDATE sqlite_master SET sql = ? WHERE name = ?`).run(sql, name);
  });
}

describe('a token that no list shows', () => {
  it('ends with its workload', async () => {
    const path = join(directory, 'tenant.db');
    const tenant = await testTenant({ sql: openNodeSql(path) });
    await putKey(tenant, 'stripe', 'not-a-real-secret');
    const { text, id } = await workloadToken(tenant);
    const { secret } = await tenant.vault.submit((job) => createClientSecret(job, tenant.user(['admin'], 'everywhere'), id));
    tenant.vault.close();
    hideTokens(path);
    const vault = tenant.reopen(undefined, openNodeSql(path));
    const where = { environment: 'staging', name: 'stripe', version: undefined, stage: undefined };
    const read = () => outcomeOf(vault.submit((job) => readCredential(job, tenant.token(text), where)));
    const { tokens, cell, rows } = inside(vault).core;
    expect(cell.idle).toBe(true);
    expect(vault.lookup('test', (lookup) => tokens.listBySubject(lookup, id))).toEqual([]);
    expect(rows.of('token').count).toBeGreaterThan(2);
    expect(await read()).toBe('ok');
    await vault.submit((job) => revokeWorkload(job, tenant.user(['admin'], 'everywhere'), id));
    expect(await read()).toBe('unauthenticated');
    const bySecret = vault.lookup('test', (lookup) => inside(vault).authenticator.byClientSecret(lookup, textOf(secret.token)));
    expect(bySecret).toBeUndefined();
    vault.close();
  });

  it('ends with its user', async () => {
    const path = join(directory, 'home.db');
    const team = await testTeam(openNodeSql(path));
    const { home, owner } = team;
    const { row } = await home.submit((job) =>
      createUser(job, team.caller(owner), {
        name: 'eve',
        grants: [{ role: 'admin', tenant: undefined }],
        enrolmentTtlMs: 3_600_000,
      }),
    );
    const own = {
      ...team.caller(owner),
      user: {
        id: row.id,
        name: 'eve',
        revision: 1,
        bootstrap: false,
        grants: [{ role: 'admin' as const, tenantId: '*' }],
        tokenId: 'token',
      },
    };
    const issued = await home.submit((job) => createUserToken(job, own, row.id, 3_600_000));
    const token = textOf(issued.token);
    home.close();
    hideTokens(path);
    const { platform, erasureKey } = team.opening;
    const again = new HomeVault({ sql: openNodeSql(path), erasureKey, platform, authorizer, admit: () => {} });
    expect(again.lookup('test', (lookup) => inside(again).core.tokens.listBySubject(lookup, row.id))).toEqual([]);
    expect(again.identify(token)?.name).toBe('eve');
    const ada = { ...team.caller(owner), user: again.identify(owner) };
    await again.submit((job) => offboardUser(job, ada, 'eve'));
    expect(again.identify(token)).toBeUndefined();
    expect(again.identify(owner)?.name).toBe('ada');
    again.close();
  });
});
