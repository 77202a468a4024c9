// A connection decides which account may be connected: a tampered row is an error.

import { describe, expect, it } from 'vitest';
import { beginConsent, showConnection } from '../../rotation/grants/consent/visit.ts';
import { rewrapBatch, rotateKeys } from '../../src/vault/rotate-keys.ts';
import { consentBench } from '../kit/consent-bench.ts';

const EDITS: Readonly<Record<string, string>> = {
  state: "state = 'expired'",
  state_hash: 'state_hash = zeroblob(32)',
  browser_hash: 'browser_hash = zeroblob(32)',
  attempt: 'attempt = attempt + 1',
  request: "request = replace(request, 'contacts.read', 'everything')",
  cause: "cause = 'x'",
  created_by: "created_by = 'usr_x'",
  created_at: 'created_at = created_at + 1',
  expires_at: 'expires_at = expires_at + 86400000',
  attempt_expires_at: 'attempt_expires_at = attempt_expires_at + 1',
  finished_at: 'finished_at = 1',
};

describe('a connection row', () => {
  it('has every column under its MAC, except the id that the MAC is bound to', async () => {
    const bench = await consentBench();
    const columns = bench.tenant.sql.all<{ name: string }>("SELECT name FROM pragma_table_info('connection')");
    const free = ['id', 'credential_id', 'link_hash', 'mac', 'mac_key_id'];
    expect(
      columns
        .map(({ name }) => name)
        .filter((name) => !free.includes(name))
        .sort(),
    ).toEqual(Object.keys(EDITS).sort());
  });

  it.each(Object.entries(EDITS))('with a changed %s is refused', async (_, change) => {
    const bench = await consentBench();
    const made = await bench.make('crm');
    await bench.begin(made.linkToken);
    bench.tenant.sql.run(`UPDATE connection SET ${change}`);
    expect(() => showConnection(bench.ports, made.linkToken, () => undefined)).toThrow(
      expect.objectContaining({ code: 'integrity' }),
    );
    await expect(beginConsent(bench.ports, bench.visitor(), made.linkToken, {})).rejects.toMatchObject({ code: 'integrity' });
  });

  it('with the link of another is refused', async () => {
    const bench = await consentBench();
    const { sql } = bench.tenant;
    const [one, two] = [await bench.make('one'), await bench.make('two')];
    const { link_hash: hash } = bench.connection(one.connection.id);
    sql.run('UPDATE connection SET link_hash = zeroblob(32) WHERE id = ?', one.connection.id);
    sql.run('UPDATE connection SET link_hash = ? WHERE id = ?', hash, two.connection.id);
    expect(() => showConnection(bench.ports, one.linkToken, () => undefined)).toThrow(
      expect.objectContaining({ code: 'integrity' }),
    );
    // No row has the old link any more, but the map has: this is detected as a missing row.
    expect(() => showConnection(bench.ports, two.linkToken, () => undefined)).toThrow(
      expect.objectContaining({ code: 'integrity' }),
    );
  });

  it('moves to a new MAC key with all other rows', async () => {
    const bench = await consentBench();
    const { vault } = bench.tenant;
    const made = await bench.make('crm');
    const before = bench.connection(made.connection.id).mac_key_id;
    await vault.submit((job) => rotateKeys(job, bench.admin(), ['metadata_mac']));
    await vault.submit((job) => rewrapBatch(job, 1_000));
    expect(bench.connection(made.connection.id).mac_key_id).not.toBe(before);
    expect(showConnection(bench.ports, made.linkToken, () => undefined)).toMatchObject({ kind: 'ask' });
  });
});
