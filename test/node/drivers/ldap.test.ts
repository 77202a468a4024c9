// LDAP over TLS against the server of the Debian package slapd.
import { Client } from 'ldapts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Rotator, StoredValue } from '../../../rotation/connector.ts';
import { ldapDriver } from '../../../src/node/drivers/ldap.ts';
import { TargetNetwork } from '../../../src/node/drivers/target-network.ts';
import { selfSigned } from '../../kit/certificate.ts';
import { isMissing } from '../../kit/servers/missing.ts';
import { ROOT, type Slapd, slapdProgram, startSlapd } from '../../kit/servers/slapd.ts';
import { type MadeAccount, targetOf, testDriver } from './driver.contract.ts';

const missing = isMissing('slapd', slapdProgram);

// Skipped where the program is not installed; isMissing says so on the console (console.warn).
describe.skipIf(missing)('LDAP', () => {
  const certificate = selfSigned('LDAP of a test', ['127.0.0.1', 'ldap.test']);
  const options = { sslrootcert: certificate.cert };
  let server: Slapd;
  let accounts = 0;

  beforeAll(async () => {
    server = await startSlapd(certificate);
  });
  afterAll(() => server.stop());

  const value = (username: string, password: string): StoredValue => ({
    ...{ engine: 'ldaps', host: '127.0.0.1', port: server.port, username, password, options },
  });

  async function account(): Promise<MadeAccount> {
    const n = ++accounts;
    const password = `First-password-${n}`;
    const client = new Client({ url: `ldap://127.0.0.1:${server.plainPort}` });
    await client.bind(ROOT.username, ROOT.password);
    const made = ['app', 'admin', 'weak'].map((name) => `cn=${name}-${n},dc=test`);
    for (const dn of made) await client.add(dn, { objectClass: 'person', sn: 'test', userPassword: password });
    await client.unbind();
    const [old, admin, powerless] = made.map((dn) => value(dn, password));
    return { old, admin, powerless } as MadeAccount;
  }

  const start = async () => ({ port: server.port, account, log: server.log });
  const atPort = (one: StoredValue, port: number): StoredValue => ({ ...one, port });
  const common = { name: 'LDAP', driver: ldapDriver, start, atPort, strategy: 'single_user' } as const;
  testDriver({ ...common, by: 'admin' });
  testDriver({ ...common, by: 'self' });

  const rotator = ldapDriver(new TargetNetwork({ lookup: async () => ['127.0.0.1'] })).rotator('single_user') as Rotator;
  const verdict = (one: StoredValue) => rotator.test(targetOf(one, one), one);

  test('ldap:// is StartTLS, with the certificate verified by the name in the value', async () => {
    const { old } = await account();
    const plain = { ...old, engine: 'ldap', port: server.plainPort };
    expect(await verdict(plain)).toBe('works');
    expect(await verdict({ ...plain, password: 'wrong' })).toBe('rejected');
    expect(await verdict({ ...plain, host: 'ldap.test' })).toBe('works');
    expect(await verdict({ ...plain, host: 'other.test' })).toBe('unknown');
    expect(await verdict({ ...old, host: 'ldap.test' })).toBe('works');
    expect(await verdict({ ...old, host: 'other.test' })).toBe('unknown');
    expect(await verdict({ ...old, options: {} })).toBe('unknown');
    expect(await verdict({ ...plain, options: { sslmode: 'disable' } })).toBe('unknown');
  });

  test('a login that proves nothing is not sent', async () => {
    const { old } = await account();
    expect(await verdict({ ...old, password: '' })).toBe('unknown');
    expect(await verdict({ ...old, username: '' })).toBe('unknown');
  });
});
