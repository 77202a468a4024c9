import { describe, expect, it } from 'vitest';
import type { ChoiceSpec } from '../../../../rotation/connector.ts';
import { chooseAccount, expireConnectionsDue } from '../../../../rotation/grants/consent/choose-account.ts';
import { showConnection } from '../../../../rotation/grants/consent/visit.ts';
import { openRefresh } from '../../../../rotation/grants/refresh-lease.ts';
import { LIMITS } from '../../../../src/base/limits.ts';
import { type ConsentBench, CRM, consentBench, type Reply, tokens } from '../../../kit/consent-bench.ts';
import { changing } from '../../../kit/vaults.ts';

const choice: ChoiceSpec = {
  url: 'https://api.crm.example/sites',
  title: 'Which site is meant?',
  items: 'data.sites',
  idField: 'id',
  labelField: 'name',
  accountField: 'site_id',
};
const sites = (...list: readonly unknown[]): Reply => ({ status: 200, body: { data: { sites: list } } });
const [NORTH, SOUTH] = [
  { id: 'n-1', name: 'North' },
  { id: 's-2', name: 'South' },
];

async function arrived(...replies: Reply[]) {
  const bench = await consentBench({ consent: { ...CRM.consent!, choice } });
  const made = await bench.make('crm');
  const attempt = await bench.begin(made.linkToken);
  bench.replies.push(tokens(), ...replies);
  const end = await bench.comeBack(attempt);
  const browserOf = () => attempt.browser;
  return {
    bench,
    made,
    end,
    browserOf,
    choose: (id: string | undefined, of: () => string | undefined = browserOf) =>
      chooseAccount(bench.ports, bench.visitor(), made.linkToken, of, id),
  };
}

const state = (bench: ConsentBench, id: string) => bench.connection(id).state;

describe('a grant that covers several places', () => {
  it('is stored first; then the person is asked, and what they choose is served with the token', async () => {
    const { bench, made, end, browserOf, choose } = await arrived(sites(NORTH, SOUTH));
    expect(end).toEqual({ kind: 'choosing' });
    expect(bench.row('crm')).toMatchObject({ health: 'ready', current_version: 2 });
    expect(bench.sent[1]).toMatchObject({ url: choice.url, method: 'GET', headers: ['accept', 'authorization'] });
    expect(showConnection(bench.ports, made.linkToken, browserOf)).toEqual({
      kind: 'choose',
      provider: 'Made-up CRM',
      title: choice.title,
      choices: [
        { id: 'n-1', label: 'North' },
        { id: 's-2', label: 'South' },
      ],
    });
    expect(await choose('s-2')).toEqual({ kind: 'connected' });
    expect(bench.facts('crm').account).toEqual({ hub_id: '4711', site_id: 's-2' });
    expect(await bench.served('crm')).toMatchObject({ account: { hub_id: '4711', site_id: 's-2' } });
    expect(state(bench, made.connection.id)).toBe('connected');
    expect(bench.tenant.sql.all('SELECT kind FROM alert')).toEqual([{ kind: 'credential.ready' }]);
  });

  it('chooses itself where there is one place only', async () => {
    const { bench, made, end } = await arrived(sites(NORTH));
    expect(end).toEqual({ kind: 'connected' });
    expect(bench.facts('crm').account).toMatchObject({ site_id: 'n-1' });
    expect(state(bench, made.connection.id)).toBe('connected');
  });

  it('takes a choice from the browser that consented alone, and only of what was offered', async () => {
    const { bench, made, choose } = await arrived(sites(NORTH, SOUTH));
    expect(await choose('n-1', () => undefined)).toEqual({ kind: 'nowhere' });
    expect(await choose('n-1', () => 'another')).toEqual({ kind: 'nowhere' });
    expect(await choose('x-9')).toEqual({ kind: 'choosing' });
    expect(showConnection(bench.ports, made.linkToken, () => undefined)).toBeUndefined();
    expect(bench.facts('crm').account).toEqual({ hub_id: '4711' });
    await expect(bench.begin(made.linkToken)).rejects.toThrow('nowhere');
    expect(await choose('n-1')).toEqual({ kind: 'connected' });
    expect(await choose('s-2')).toEqual({ kind: 'nowhere' });
    expect(bench.facts('crm').account).toMatchObject({ site_id: 'n-1' });
  });

  it.each<[string, Reply]>([
    ['cannot be reached', { fails: 'connection_lost' }],
    ['answers an error', { status: 500, body: 'no' }],
    ['answers nonsense', { status: 200, body: 'nonsense' }],
    ['answers an empty list', { status: 200, body: { data: { sites: [] } } }],
  ])('keeps the grant when the list %s, and asks again on demand', async (_, reply) => {
    const { bench, made, end, browserOf, choose } = await arrived(reply);
    expect(end).toEqual({ kind: 'choosing' });
    expect(bench.row('crm').health).toBe('ready');
    expect(showConnection(bench.ports, made.linkToken, browserOf)).toMatchObject({ kind: 'choose', choices: undefined });
    bench.replies.push(sites(NORTH, SOUTH));
    expect(await choose(undefined)).toEqual({ kind: 'choosing' });
    expect(showConnection(bench.ports, made.linkToken, browserOf)).toMatchObject({ choices: [{ id: 'n-1' }, { id: 's-2' }] });
  });

  it('believes of the list only ids and labels that can be shown', async () => {
    const { bench } = await arrived(
      sites({ id: 7, name: 'Seven' }, { id: 'a\nb', name: 'x' }, { name: 'no id' }, 'text', null, {
        id: 'ok',
        name: 'la\u202ebel',
      }),
    );
    const row = bench.tenant.sql.get<{ request: string }>('SELECT request FROM connection');
    expect((JSON.parse(row?.request ?? '{}') as { choices: unknown }).choices).toEqual([
      { id: '7', label: 'Seven' },
      { id: 'ok', label: 'ok' },
    ]);
  });

  it('says so when nobody chose in time: one alert, the grant goes on', async () => {
    const { bench, made } = await arrived(sites(NORTH, SOUTH));
    expect(bench.tenant.vault.nextDueAt()).toBeLessThanOrEqual(bench.tenant.clock.now() + LIMITS.connectAttemptTtlMs);
    bench.tenant.clock.pass(LIMITS.connectAttemptTtlMs);
    expect(await expireConnectionsDue(bench.ports)).toBe(1);
    expect(bench.row('crm')).toMatchObject({ health: 'degraded', health_cause: 'account_not_chosen' });
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'connected', cause: 'account_not_chosen' });
    expect(bench.tenant.sql.all('SELECT kind FROM alert')).toEqual([
      { kind: 'credential.ready' },
      { kind: 'credential.degraded' },
    ]);
  });

  it('puts no version between a refresh that is under way and its answer', async () => {
    const { bench, choose } = await arrived(sites(NORTH, SOUTH));
    const { vault } = bench.tenant;
    await vault.submit((job) => {
      changing(job, (access) =>
        openRefresh(job, access, job.credentials.byId(access, bench.row('crm').id), 'schedule', { kind: 'refresh' }),
      );
    });
    const { current_version: before } = bench.row('crm');
    expect(await choose('n-1')).toEqual({ kind: 'connected' });
    expect(bench.row('crm').current_version).toBe(before);
    expect(bench.facts('crm').account).toMatchObject({ site_id: 'n-1' });
  });
});
