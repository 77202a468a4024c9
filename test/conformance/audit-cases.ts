// The log: one event a request, no value in it, provable offline; and the keys under everything, rotated.
import { expect, it } from 'vitest';
import { ExportVerifier, type VerifyOptions, type VerifyResult } from '../../src/audit/verify-export.ts';
import { apiKey, at, CANARY, type Call, eventually, type Json, must, type Reply, type World } from './world.ts';

export async function verifyLog(call: Call, token: string, base: string, options: VerifyOptions = {}) {
  const exported = await must(call('GET', `${base}/audit/export`, { token }), 200);
  return { ...verified(exported.text, options), text: exported.text };
}

function verified(text: string, options: VerifyOptions): VerifyResult {
  const verifier = new ExportVerifier(options);
  verifier.add(Buffer.from(text));
  return verifier.finish();
}

export function auditCases(world: () => World): void {
  it('holds exactly one event for every request that came to the door, with what came of it', async () => {
    const { call, acme, owner, auditor } = world();
    const path = at('acme', 'audited');
    const mine = {
      token: acme.token,
      headers: { 'x-keyturn-workflow': 'nightly', 'x-keyturn-run': '42', 'x-request-id': 'own-1' },
    };
    const asked: (readonly [string, string, Reply])[] = [
      ['credential.put', 'success', await call('PUT', path, { ...mine, body: apiKey() })],
      ['credential.read', 'success', await call('GET', `${path}/value`, mine)],
      ['credential.describe', 'success', await call('GET', path, mine)],
      ['credential.list', 'success', await call('GET', at('acme'), mine)],
      ['credential.describe', 'failure', await call('GET', at('acme', 'absent'), mine)],
      ['credential.put', 'failure', await call('PUT', path, { ...mine, body: { ...apiKey(), cas: 7 } })],
      ['credential.delete', 'denied', await call('DELETE', path, mine)],
      ['credential.read', 'denied', await call('GET', `${path}/value`, { token: owner })],
      ['credential.put', 'denied', await call('PUT', path, { token: auditor, body: apiKey() })],
    ];
    const { body } = await must(call('GET', '/v1/tenants/acme/audit/events?limit=500', { token: auditor }), 200);
    for (const [action, outcome, reply] of asked) {
      const id = reply.headers.get('x-request-id');
      const events = body.items.filter((event: Json) => event.request === id);
      expect(
        events.map((event: Json) => [event.action, event.outcome]),
        action,
      ).toEqual([[action, outcome]]);
      expect(events[0].origin.address).toBe('127.0.0.1');
    }
    const first = body.items.find((event: Json) => event.request === asked[0]?.[2].headers.get('x-request-id'));
    expect(first).toMatchObject({
      client_request: 'own-1',
      context: { workflow: 'nightly', run: '42' },
      actor: { type: 'workload', id: acme.workload },
    });
  });

  it('counts a hundred requests at once one by one', async () => {
    const { call, acme, auditor } = world();
    const replies = await Promise.all(
      Array.from({ length: 100 }, () => call('GET', `${at('acme', 'audited')}/value`, { token: acme.token })),
    );
    expect(replies.every((reply) => reply.status === 200)).toBe(true);
    const { body } = await must(
      call('GET', '/v1/tenants/acme/audit/events?limit=200&action=credential.read', { token: auditor }),
      200,
    );
    const logged = body.items.map((event: Json) => event.request);
    const ids = replies.map((reply) => reply.headers.get('x-request-id'));
    expect(new Set(ids).size).toBe(100);
    expect(ids.filter((id) => logged.filter((other: string) => other === id).length !== 1)).toEqual([]);
  });

  it('can be searched and followed without a gap', async () => {
    const { call, auditor, acme } = world();
    const all: number[] = [];
    let before: number | null = null;
    do {
      const query: string = before === null ? '' : `&before=${before}`;
      const page: Json = (await must(call('GET', `/v1/tenants/acme/audit/events?limit=200${query}`, { token: auditor }), 200))
        .body;
      all.push(...page.items.map((event: Json) => event.index));
      before = page.next_before;
    } while (before !== null);
    expect(all.at(-1)).toBe(0);
    expect(all).toEqual(Array.from({ length: all.length }, (_, i) => all.length - 1 - i));
    const followed = await must(call('GET', '/v1/tenants/acme/audit/events?from=3&limit=5', { token: auditor }), 200);
    expect(followed.body.items.map((event: Json) => event.index)).toEqual([3, 4, 5, 6, 7]);
    const denied = await must(
      call('GET', `/v1/tenants/acme/audit/events?outcome=denied&actor=${acme.workload}`, { token: auditor }),
      200,
    );
    expect(denied.body.items.length).toBeGreaterThan(0);
    expect(denied.body.items.every((event: Json) => event.outcome === 'denied' && event.actor.id === acme.workload)).toBe(true);
  });

  it.each(['/v1/tenants/acme', '/v1/tenants/globex', '/v1'])(
    'exports the log of %s so that an outsider can check it, and no secret is in it',
    async (base) => {
      const { call, auditor } = world();
      const head = (await must(call('GET', `${base}/audit/checkpoint`, { token: auditor }), 200)).body;
      const options = { verifierKey: head.verifier_key, checkpoints: [head.note] };
      const result = await verifyLog(call, auditor, base, options);
      expect({ ok: result.ok, findings: result.findings, uncovered: result.uncovered }).toEqual({
        ok: true,
        findings: [],
        uncovered: 0,
      });
      expect(result.events).toBeGreaterThanOrEqual(head.size);
      expect(result.checkpoints).toBeGreaterThan(0);
      expect(result.text).not.toContain('not-a-real-secret');
      expect(result.text).not.toMatch(/kt_(usr|acc|wlk|cs|boot)_/);
      expect(result.text).not.toContain(CANARY);

      const lines = result.text.split('\n');
      const events = lines.map((line, i) => [line, i] as const).filter(([line]) => line.startsWith('{"action"'));
      const at_ = events[Math.floor(events.length / 2)]?.[1] as number;
      const without = lines.filter((_, i) => i !== at_).join('\n');
      expect(verified(without, options).findings.map((finding) => finding.kind)).toContain('deleted');
      const edited = lines.with(at_, (lines[at_] as string).replace(/"outcome":"\w+"/, '"outcome":"success "')).join('\n');
      expect(verified(edited, options).findings.map((finding) => finding.kind)).toContain('edited');
    },
  );

  it('rotates every key: the work is done while values stay readable, and what was put before is readable after', async () => {
    const { call, owner, acme } = world();
    const value = async (name: string) => (await must(call('GET', `${at('acme', name)}/value`, { token: acme.token }), 200)).body;
    const before = { api: await value('audited'), oauth: await value('on-request'), json: await value('kind-json') };
    const keys = async () => (await must(call('GET', '/v1/tenants/acme/keys', { token: owner }), 200)).body;
    const versionOf = async (purpose: string) =>
      Math.max(...(await keys()).keys.filter((key: Json) => key.purpose === purpose).map((key: Json) => key.version));
    const old = await versionOf('api_key');
    const started = await must(call('POST', '/v1/tenants/acme/keys/rotations', { token: owner, body: {} }), 202);
    expect(started.body.rotations.length).toBeGreaterThanOrEqual(6);
    expect(await value('audited')).toEqual(before.api);
    await eventually(async () =>
      (await keys()).rotations.every((r: Json) => r.finished_at !== null && r.done === r.total) ? true : undefined,
    );
    expect(await versionOf('api_key')).toBe(old + 1);
    const states = (await keys()).keys.filter((key: Json) => key.purpose === 'api_key').map((key: Json) => key.state);
    expect(states.filter((state: string) => state === 'active')).toHaveLength(1);
    expect({ api: await value('audited'), oauth: await value('on-request'), json: await value('kind-json') }).toEqual(before);
    expect((await must(call('GET', `${at('acme', 'history')}/value?version=1`, { token: acme.token }), 200)).body.value.key).toBe(
      'one',
    );
    expect((await verifyLog(call, owner, '/v1/tenants/acme')).ok).toBe(true);
  });

  it('rotates the root key where the platform can, for an owner only: tokens stay valid and values readable', async () => {
    const { call, owner, acme, admin } = world();
    const path = '/v1/installation/root';
    expect((await call('POST', `${path}/rotations`, { token: admin })).status).toBe(403);
    const started = await call('POST', `${path}/rotations`, { token: owner });
    const { provider } = (await must(call('GET', path, { token: owner }), 200)).body;
    expect(started.status).toBe(provider === 'worker-secret' ? 409 : 202);
    await eventually(async () =>
      (await must(call('GET', path, { token: owner }), 200)).body.rotating_since === null ? true : undefined,
    );
    await must(call('GET', `${at('acme', 'audited')}/value`, { token: acme.token }), 200);
    expect((await verifyLog(call, owner, '/v1')).ok).toBe(true);
  });
}

/** Before a source has been refused so often that its refusals are only counted. */
export function rejectionCases(world: () => World): void {
  it('keeps a refused token in the log of the installation', async () => {
    const { call, auditor } = world();
    const refused = [
      await call('GET', at('acme'), { token: 'kt_acc_not-a-real-secret' }),
      await call('GET', '/v1/tenants', { token: 'kt_usr_x' }),
      await call('GET', at('nowhere')),
    ];
    const { body } = await must(call('GET', '/v1/audit/events?limit=100&action=authentication', { token: auditor }), 200);
    for (const reply of refused) {
      expect(reply.status).toBe(401);
      const events = body.items.filter((event: Json) => event.request === reply.headers.get('x-request-id'));
      expect(events.map((event: Json) => event.outcome)).toEqual(['denied']);
    }
    expect(JSON.stringify(body)).not.toContain('not-a-real-secret');
  });

  it('tells an auditor of its parts, and nobody without a token', async () => {
    const { call, auditor } = world();
    expect((await must(call('GET', '/v1/health/parts', { token: auditor }), 200)).body.status).toBe('ok');
    expect((await call('GET', '/v1/health/parts')).status).toBe(401);
  });
}
