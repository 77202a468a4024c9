// A refused token: its event is durable before the answer, and a flood of them is counted instead of written as single events.
import { describe, expect, it } from 'vitest';
import type { Caller } from '../../src/access/principals.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { rejectionRecorder } from '../../src/vault/record-rejection.ts';
import { testTeam } from '../kit/homes.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { SqlSpy } from '../kit/sql-spy.ts';
import { eventsOf } from '../kit/vaults.ts';

let requests = 0;
const stranger = (address = '192.0.2.1'): Caller => ({
  token: undefined,
  source: { address, userAgent: 'vitest' },
  request: `req_stranger_${++requests}`,
});
const unlimited = { take: () => ({ ok: true, retryAfterSeconds: 0 }) };

describe('a refused token', () => {
  it('is an event before its 401 is sent: if the event cannot be stored, there is no 401', async () => {
    const sql = new SqlSpy(openNodeSql(':memory:'));
    const { home } = await testTeam(sql);
    const rejected = rejectionRecorder(home, unlimited, (address) => address);
    const commits = sql.count('commit');
    const caller = stranger();
    await rejected(caller, 'GET /v1/users');
    expect(sql.count('commit'), 'committed when it settles').toBe(commits + 1);
    expect(eventsOf(sql).at(-1)).toMatchObject({ action: 'authentication', outcome: 'denied', request: caller.request });
    sql.failCommits();
    expect(await outcomeOf(rejected(stranger(), 'GET /v1/users'))).toBe('storage_full');
  });
});
