// Each form that a declared call can have: what is sent, and what is made of the answer, on both sides of every bound.
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { CallAuthentication, EgressRequest, KeySpec, StoredValue, Target } from '../../../rotation/connector.ts';
import { EgressFailure } from '../../../rotation/connector.ts';
import { declaredRotator } from '../../../rotation/keys/declared.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { answer, NAME, NOW } from '../key-provider.ts';
import { type Answers, connectorOf, HOST, OLD, targetOf } from './made-up-calls.ts';

type Calls = NonNullable<KeySpec['calls']>;
const CALLS = connectorOf().key.calls as Calls;
const made = (more: object = {}) => answer(201, JSON.stringify({ key: 'k', id: 'n', ...more }));

const rotatorOf = (calls: Partial<Calls> = {}, more: Partial<KeySpec> = {}) => declaredRotator(connectorOf(more, calls));
async function create(calls: Partial<Calls>, answers: Answers = () => made(), more: Partial<Target> = {}, again = false) {
  const { target, urls } = targetOf(answers, more);
  return { outcome: await rotatorOf(calls).create(target, again), urls };
}
const textIn = (value: unknown) =>
  value instanceof SecretValue ? value.reveal((bytes) => new TextDecoder().decode(bytes)) : String(value);

/** The request of a mint as a provider reads it. */
async function sentBy(mint: Partial<Calls['mint']>, more: Partial<Target> = {}, calls: Partial<Calls> = {}) {
  const sent: { request: EgressRequest; headers: Record<string, string>; body: string | undefined }[] = [];
  const { outcome } = await create(
    { mint: { ...CALLS.mint, ...mint }, ...calls },
    (request) => {
      const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, textIn(value)]));
      sent.push({ request, headers, body: request.body === undefined ? undefined : textIn(request.body) });
      return made();
    },
    more,
  );
  return { outcome, sent };
}

describe('a request', () => {
  it('has the limits of a call to a provider, and the hosts and the sandbox of its target', async () => {
    const { sent } = await sentBy({}, { allowLoopback: true });
    expect(sent[0]?.request).toMatchObject({
      method: 'POST',
      url: `${HOST}/keys`,
      timeoutMs: LIMITS.providerTimeoutMs,
      maxBytes: LIMITS.providerAnswerMaxBytes,
      allowedHosts: ['api.example.com'],
      allowLoopback: true,
    });
  });

  it('says the type of its body and of the answer that it can read', async () => {
    const types = async (mint: Partial<Calls['mint']>) => {
      const sent = (await sentBy(mint)).sent[0];
      return [sent?.headers['accept'], sent?.headers['content-type'], sent?.body];
    };
    const JSON_TYPE = 'application/json';
    expect(await types({ json: { name: '{name}' } })).toEqual([JSON_TYPE, JSON_TYPE, `{"name":"${NAME}"}`]);
    expect(await types({ json: undefined })).toEqual([JSON_TYPE, undefined, undefined]);
    expect((await sentBy({ json: undefined })).sent[0]?.request).not.toHaveProperty('body');
    expect(await types({ json: undefined, form: { n: '{name}' } })).toEqual([
      JSON_TYPE,
      'application/x-www-form-urlencoded',
      `n=${NAME}`,
    ]);
    expect(await types({ json: undefined, answer: 'xml' })).toEqual(['application/xml, text/xml', undefined, undefined]);
    expect(await types({ headers: { accept: 'text/x', 'x-name': '{name}' } })).toEqual([
      'text/x',
      JSON_TYPE,
      `{"name":"${NAME}"}`,
    ]);
  });

  it('authenticates as declared: by headers, basic, not at all, or by its own declaration', async () => {
    const headersBy = async (authentication: CallAuthentication, own?: CallAuthentication) =>
      (
        await sentBy(
          own === undefined ? {} : { authentication: own },
          { admin: { username: 'ü', password: 'pässword' } },
          { authentication },
        )
      ).sent[0]?.headers;
    const basic = { by: 'basic', username: '{admin.username}', password: '{admin.password}' } as const;
    const utf8 = Buffer.from('ü:pässword').toString('base64');
    expect(await headersBy(basic)).toMatchObject({ authorization: `Basic ${utf8}` });
    expect(await headersBy({ by: 'headers', headers: { 'x-key': '{admin.password}' } })).toMatchObject({ 'x-key': 'pässword' });
    expect(await headersBy({ by: 'none' })).not.toHaveProperty('authorization');
    expect(await headersBy(basic, { by: 'none' })).not.toHaveProperty('authorization');
  });

  it('keeps what may be secret in its headers unprintable, and the rest readable', async () => {
    const { sent } = await sentBy({ headers: { 'x-name': '{name}', 'x-old': '{old.key}' } });
    const { headers = {} } = sent[0]?.request ?? {};
    expect([headers['x-name'], headers['x-old'] instanceof SecretValue]).toEqual([NAME, true]);
  });

  it('is signed for AWS with its type and its body', async () => {
    const admin = { key_id: 'AKIDEXAMPLE', key: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' };
    const authentication: CallAuthentication = {
      by: 'sigv4',
      keyId: '{admin.key_id}',
      key: '{admin.key}',
      region: 'us-east-1',
      service: 'iam',
    };
    const signed = async (mint: Partial<Calls['mint']>) =>
      (await sentBy(mint, { admin }, { authentication })).sent[0]?.headers ?? {};
    const date = new Date(NOW).toISOString().replaceAll(/[-:]|\.\d{3}/g, '');
    const form = await signed({ json: undefined, form: { Action: 'CreateAccessKey' } });
    expect(form['x-amz-date']).toBe(date);
    const scope = `${date.slice(0, 8)}/us-east-1/iam/aws4_request`;
    expect(form['authorization']).toContain(`Credential=AKIDEXAMPLE/${scope}, SignedHeaders=content-type;host;x-amz-date, `);
    const empty = await signed({ json: undefined });
    expect(empty['authorization']).toContain(`Credential=AKIDEXAMPLE/${scope}, SignedHeaders=host;x-amz-date, `);
  });

  it('answers a challenge of HTTP Digest, and sends no secret without one', async () => {
    const digest = { authentication: { by: 'digest', username: '{admin.key_id}', password: '{admin.key}' } } as const;
    const challenge = { 'www-authenticate': 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5' };
    const seen: boolean[] = [];
    const challenging: Answers = ({ headers }, count) => {
      seen.push('authorization' in headers);
      return count === 1 ? answer(401, '', challenge) : made();
    };
    expect([(await create(digest, challenging)).outcome.kind, seen]).toEqual(['done', [false, true]]);
    expect((await create(digest, () => answer(401, ''))).outcome).toEqual({
      kind: 'refused',
      means: 'configuration',
      cause: 'digest_not_offered',
    });
    expect(await create(digest)).toMatchObject({ outcome: { kind: 'done' }, urls: [`POST ${HOST}/keys`] });
    expect((await create(digest, () => answer(403, '', challenge))).urls).toHaveLength(1);
  });

  it('with an unusable private key, or without a value that it needs, is not sent', async () => {
    const jwt: CallAuthentication = { by: 'jwt_bearer', issuer: 'robot', audience: HOST, privateKey: '{admin.key}', scope: 's' };
    const unusable = await create({ authentication: jwt, mint: { ...CALLS.mint, json: undefined, form: { a: 'b' } } });
    expect(unusable).toEqual({ outcome: { kind: 'refused', means: 'configuration', cause: 'private_key_unusable' }, urls: [] });
    const lacking = await create({ mint: { ...CALLS.mint, url: `${HOST}/{admin.team}` } });
    expect(lacking).toEqual({ outcome: { kind: 'refused', means: 'configuration', cause: 'admin_lacks_team' }, urls: [] });
  });
});

describe('the status of an answer', () => {
  const outcomeOf = async (status: number, mint: Partial<Calls['mint']> = {}) =>
    (await create({ mint: { ...CALLS.mint, ...mint } }, () => answer(status, '{"key":"k","id":"n"}'))).outcome;
  const of = async (...statuses: readonly number[]) => {
    const ends = await Promise.all(statuses.map((status) => outcomeOf(status)));
    return ends.map((end) =>
      [end.kind, 'means' in end ? end.means : undefined, 'cause' in end ? end.cause : undefined].filter(Boolean).join(' '),
    );
  };

  it('is a success from 200 to 299, or as declared', async () => {
    expect(await of(199, 200, 299, 300)).toEqual(['odd http_199', 'done', 'done', 'odd redirect_refused']);
    expect((await outcomeOf(299, { succeeds: [201] })).kind).toBe('odd');
    expect((await outcomeOf(201, { succeeds: [201] })).kind).toBe('done');
    expect((await outcomeOf(302, { succeeds: [302] })).kind).toBe('done');
    expect(await outcomeOf(204, { succeeds: [201] })).toMatchObject({ cause: 'http_204' });
  });

  it('is a refusal from 400 on, for now or until a person acts; a call that may have changed something is lost', async () => {
    expect(await of(399, 400, 404, 425, 429, 499)).toEqual([
      'odd redirect_refused',
      'refused configuration http_400',
      'refused configuration http_404',
      'refused transient http_425',
      'refused transient http_429',
      'refused configuration http_499',
    ]);
    expect(await of(408, 500, 502, 520, 522, 524, 599)).toEqual(
      [408, 500, 502, 520, 522, 524, 599].map((status) => `lost http_${status}`),
    );
    expect(await of(521, 523, 525, 526, 530)).toEqual(
      [521, 523, 525, 526, 530].map((status) => `refused transient http_${status}`),
    );
  });

  it('of a call that changes nothing is never lost', async () => {
    for (const status of [408, 500, 503]) {
      const { outcome } = await create({}, () => answer(status, ''), {}, true);
      expect(outcome).toMatchObject({ kind: 'refused', means: 'transient', cause: `http_${status}` });
    }
  });
});

describe('the error table of a connector', () => {
  const refused = async (errorTable: KeySpec['errorTable'], status: number, body: string) =>
    rotatorOf({}, errorTable === undefined ? {} : { errorTable }).create(
      targetOf(() => answer(status, body, { 'retry-after': '9' })).target,
      false,
    );

  it('matches by status, by text in any case, or by both', async () => {
    const table = [
      { status: 409, text: 'Cap', means: 'configuration', cause: 'capped' },
      { status: 409, means: 'transient', cause: 'busy' },
      { text: 'gone', means: 'configuration', cause: 'gone' },
    ] as const;
    expect(await refused(table, 409, 'the CAP is reached')).toMatchObject({
      cause: 'capped',
      means: 'configuration',
      retryAfterSeconds: 9,
    });
    expect(await refused(table, 409, 'else')).toMatchObject({ cause: 'busy', means: 'transient' });
    expect(await refused(table, 400, 'cap')).toMatchObject({ cause: 'http_400' });
    expect(await refused(table, 500, 'GONE')).toMatchObject({ kind: 'refused', cause: 'gone' });
  });

  it('reads the beginning of an answer only', async () => {
    const table = [{ text: 'gone', means: 'transient', cause: 'gone' }] as const;
    const at = (index: number) => refused(table, 400, `${'x'.repeat(index)}gone`);
    expect(await at(LIMITS.excerptReadMaxChars - 4)).toMatchObject({ cause: 'gone' });
    expect(await at(LIMITS.excerptReadMaxChars - 3)).toMatchObject({ cause: 'http_400' });
  });
});

describe('a refusal inside an answer of success', () => {
  const refusedBy = async (refusedWhen: NonNullable<Calls['mint']['refusedWhen']>, body: object) =>
    (await create({ mint: { ...CALLS.mint, refusedWhen } }, () => made(body))).outcome;

  it('is a member that is false, or one that is there and no empty list', async () => {
    const isFalse = [{ at: '/ok', is: 'false' }] as const;
    expect(await refusedBy(isFalse, { ok: false })).toMatchObject({
      kind: 'refused',
      means: 'configuration',
      cause: 'refused_in_answer',
    });
    for (const body of [{ ok: true }, {}, { ok: 'false' }])
      expect(await refusedBy(isFalse, body)).toMatchObject({ kind: 'done' });
    const isThere = [{ at: '/error', is: 'present', cause: 'declined' }] as const;
    for (const body of [{ error: 'x' }, { error: [1] }, { error: {} }, { error: false }])
      expect(await refusedBy(isThere, body)).toMatchObject({ cause: 'declined' });
    for (const body of [{ error: [] }, { error: null }, {}])
      expect(await refusedBy(isThere, body)).toMatchObject({ kind: 'done' });
  });

  it('makes no verdict of a test', async () => {
    const test = { ...CALLS.test, refusedWhen: [{ at: '/error', is: 'present' }] } as const;
    const verdict = (body: string) => rotatorOf({ test }).test(targetOf(() => answer(200, body)).target, OLD);
    expect([await verdict('{"id":1,"error":"x"}'), await verdict('{"id":1}')]).toEqual(['unknown', 'works']);
  });
});

describe('a check before a rotation', () => {
  const check = async (calls: Partial<Calls>, more: Partial<KeySpec>, old: StoredValue = OLD, items: unknown = []) => {
    const { target, urls } = targetOf(() => answer(200, JSON.stringify({ items })), { old });
    return { outcome: await rotatorOf(calls, more).check?.(target), asked: urls.length };
  };
  const keys = (count: number) => Array.from({ length: count }, (_, id) => ({ id: `k${id}` }));

  it('needs the id of the old key, if that is to be read or ended', async () => {
    const lacks = { kind: 'refused', means: 'configuration', cause: 'value_lacks_key_id' };
    expect(await check({}, {}, { key: 'k' })).toEqual({ outcome: lacks, asked: 0 });
    expect(await check({}, {}, { key: 'k', key_id: '' })).toEqual({ outcome: lacks, asked: 0 });
    expect((await check({}, {}, { key: 'k', key_id: 7 })).outcome).toEqual({ kind: 'done' });
    expect((await check({ idMember: 'SecretSid' }, {}, OLD)).outcome).toMatchObject({ cause: 'value_lacks_secretsid' });
    const { revoke: _, ...without } = CALLS;
    const ending = connectorOf();
    const unending = declaredRotator({ ...ending, key: { ...ending.key, calls: without } });
    expect(await unending.check?.(targetOf(() => made(), { old: { key: 'k' } }).target)).toEqual({ kind: 'done' });
    const inspect = { method: 'GET', url: `${HOST}/key`, takes: {} } as const;
    const inspecting = declaredRotator({ ...ending, key: { ...ending.key, calls: { ...without, inspect } } });
    expect(await inspecting.check?.(targetOf(() => made(), { old: { key: 'k' } }).target)).toMatchObject({
      cause: 'value_lacks_key_id',
    });
  });

  it('counts the keys where their number is limited', async () => {
    expect(await check({}, {}, OLD, keys(9))).toEqual({ outcome: { kind: 'done' }, asked: 0 });
    expect(await check({ list: undefined as never }, { keysMaxCount: 2 })).toEqual({ outcome: { kind: 'done' }, asked: 0 });
    expect((await check({}, { keysMaxCount: 2 }, OLD, keys(1))).outcome).toEqual({ kind: 'done' });
    const capped = { kind: 'refused', means: 'configuration', cause: 'key_cap_reached' };
    for (const count of [2, 3]) expect((await check({}, { keysMaxCount: 2 }, OLD, keys(count))).outcome).toEqual(capped);
    expect((await check({}, { keysMaxCount: 2 }, OLD, 'none')).outcome).toMatchObject({
      kind: 'odd',
      cause: 'answer_lacks_list',
    });
    expect((await check({}, { keysMaxCount: 1 }, OLD, [{ id: '' }, { id: null }, {}])).outcome, 'without ids').toEqual({
      kind: 'done',
    });
  });
});

describe('a new key', () => {
  it('gets the rights of the old one, which are read first', async () => {
    const inspect = {
      method: 'GET',
      url: `${HOST}/keys/{old.key_id}`,
      takes: { scopes: ['/none', '/scopes'], 'note?': '/note' },
    } as const;
    const mint = { ...CALLS.mint, json: { scopes: '{copied.scopes}', note: '{copied.note}' } };
    const bodies: string[] = [];
    const answers =
      (inspected: string): Answers =>
      ({ method, body }) => {
        if (method === 'GET') return answer(200, inspected);
        bodies.push(textIn(body));
        return made();
      };
    expect((await create({ inspect, mint }, answers('{"scopes":["r"],"note":{"a":""}}'))).urls).toEqual([
      `GET ${HOST}/keys/old-id`,
      `POST ${HOST}/keys`,
    ]);
    await create({ inspect, mint }, answers('{"scopes":[],"note":"x"}'));
    expect(bodies).toEqual(['{"scopes":["r"]}', '{"scopes":[],"note":"x"}']);
    const lacking = await create({ inspect, mint }, answers('{}'));
    expect(lacking).toMatchObject({ outcome: { kind: 'odd', cause: 'answer_lacks_scopes' }, urls: [`GET ${HOST}/keys/old-id`] });
    const failing = await create({ inspect, mint }, () => answer(500, ''));
    expect(failing).toMatchObject({ outcome: { kind: 'refused', means: 'transient' }, urls: [`GET ${HOST}/keys/old-id`] });
  });

  it('gets the end that its connector declares', async () => {
    const json = { at: '{ends.date_time}', on: '{ends.date}', h: '{ends.hours}', d: '{ends.days}', s: '{ends.seconds}' };
    const { sent } = await sentBy({ json }, {}, { lifetime: { defaultDays: 2, maxDays: 9 } });
    const at = new Date(NOW + 2 * 86_400_000).toISOString();
    expect(JSON.parse(sent[0]?.body ?? '')).toEqual({ at: `${at.slice(0, 19)}Z`, on: at.slice(0, 10), h: 48, d: 2, s: 172_800 });
    const without = await sentBy({ json });
    expect(JSON.parse(without.sent[0]?.body ?? '')).toMatchObject({
      on: new Date(NOW).toISOString().slice(0, 10),
      h: 0,
      d: 0,
      s: 0,
    });
  });

  it('is taken from members, the first that is there, as text; what may be absent may', async () => {
    const takes = { key: ['/secret', '/key'], key_id: '/id', 'region?': '/region' } as const;
    const outcome = async (body: object, old: StoredValue = OLD) =>
      (await create({ mint: { ...CALLS.mint, takes } }, () => answer(201, JSON.stringify(body)), { old })).outcome;
    expect(await outcome({ key: 'k', id: 7 })).toMatchObject({ value: { key: 'k', key_id: '7' } });
    expect(await outcome({ secret: 's', key: 'k', id: 7, region: 'eu' })).toMatchObject({
      value: { key: 's', key_id: '7', region: 'eu' },
    });
    expect(await outcome({ key: 'k', id: 7, region: '' }, { ...OLD, region: 'us' })).toMatchObject({ value: { region: 'us' } });
    for (const id of ['', null, {}, true])
      expect(await outcome({ key: 'k', id })).toMatchObject({ kind: 'odd', cause: 'answer_lacks_key_id' });
    expect(await outcome({ key: 'k', id: 7 }, { password_base64: 'x', key_base64: 'y' })).toMatchObject({
      value: { password_base64: 'x', key: 'k', key_id: '7' },
    });
  });

  it('is taken whole from a document in base64', async () => {
    const mint = { ...CALLS.mint, takesDocument: '/doc' };
    const outcome = async (doc: unknown) => (await create({ mint }, () => answer(201, JSON.stringify({ doc })))).outcome;
    expect(await outcome(btoa('{"private_key":"k","n":1}'))).toMatchObject({ kind: 'done', value: { private_key: 'k', n: 1 } });
    for (const doc of ['%', btoa('text'), btoa('null'), btoa('[1]'), btoa('"x"'), undefined])
      expect(await outcome(doc)).toMatchObject({ kind: 'odd', cause: 'answer_lacks_document' });
  });

  it('is no larger than a value may be', async () => {
    const ofBytes = (count: number) => {
      const frame = JSON.stringify({ key: '', key_id: 'n' }).length;
      return create({}, () => made({ key: 'k'.repeat(count - frame) })).then(({ outcome }) => outcome.kind);
    };
    expect([await ofBytes(LIMITS.valueMaxBytes), await ofBytes(LIMITS.valueMaxBytes + 1)]).toEqual(['done', 'odd']);
  });

  it('of a provider that tells no end has none', async () => {
    const { endsAt: _, ...endless } = CALLS.mint;
    const { outcome } = await create({ mint: endless }, () => made({ ends: NOW + 60_000 }));
    expect(outcome).toEqual({ kind: 'done', value: { key: 'k', key_id: 'n' } });
  });

  it('ends when the provider says, in seconds, milliseconds or text, if that is believable', async () => {
    const endOf = async (ends: unknown) => {
      const { outcome } = await create({}, () => made({ ends }));
      return 'endsAtMs' in outcome ? outcome.endsAtMs : undefined;
    };
    const last = NOW + LIMITS.tokenEndMaxMs;
    expect([await endOf(NOW), await endOf(NOW + 1), await endOf(last), await endOf(last + 1)]).toEqual([
      undefined,
      NOW + 1,
      last,
      undefined,
    ]);
    expect([await endOf(NOW / 1_000 + 1.0004), await endOf(''), await endOf({})]).toEqual([NOW + 1_000, undefined, undefined]);
    expect(await endOf(new Date(NOW + 5_000).toISOString())).toBe(NOW + 5_000);
  });
});

describe('a verdict', () => {
  const verdict = (test: Partial<Calls['test']>, status: number, body: string) =>
    rotatorOf({ test: { ...CALLS.test, ...test } }).test(targetOf(() => answer(status, body)).target, OLD);

  it('is a rejection as declared, and by default status 401', async () => {
    expect([await verdict({}, 401, ''), await verdict({}, 403, '')]).toEqual(['rejected', 'unknown']);
    const rejectedBy = [
      { status: 403, text: 'revoked' },
      { status: 200, text: 'invalid_key' },
    ];
    expect(await verdict({ rejectedBy }, 403, 'Revoked')).toBe('rejected');
    expect(await verdict({ rejectedBy }, 200, '{"id":1,"error":"invalid_key"}')).toBe('rejected');
    expect([await verdict({ rejectedBy }, 401, ''), await verdict({ rejectedBy }, 403, 'no')]).toEqual(['unknown', 'unknown']);
  });

  it('compares a member with the declared text, if there is one', async () => {
    const worksWhen = { at: ['/none', '/active'], is: 'true' } as const;
    expect(await verdict({ worksWhen }, 200, '{"active":true}')).toBe('works');
    expect(await verdict({ worksWhen }, 200, '{"active":"true"}')).toBe('works');
    expect(await verdict({ worksWhen }, 200, '{"active":false}')).toBe('rejected');
    expect(await verdict({ worksWhen }, 200, '{"active":{}}')).toBe('unknown');
    expect(await verdict({ worksWhen }, 200, '{}')).toBe('unknown');
    expect(await verdict({ worksWhen: { at: '/active' } }, 200, '{"active":{}}')).toBe('works');
  });
});

describe('the end of a key', () => {
  const DISABLE = { method: 'PUT', url: `${HOST}/keys/{value.key_id}/off` } as const;
  const revoke = async (calls: Partial<Calls>, answers: Answers, more: Partial<Target> = {}) => {
    const { target, urls } = targetOf(answers, { admin: { key: 'admin', key_id: 'admin-id' }, ...more });
    return { outcome: await rotatorOf(calls).revoke?.(target, OLD), methods: urls.map((url) => url.split(' ')[0]) };
  };

  it('disables first, where that is declared, and is over as soon as the key is gone', async () => {
    expect(await revoke({}, () => answer(204, ''))).toEqual({ outcome: { kind: 'done' }, methods: ['DELETE'] });
    expect(await revoke({ disable: DISABLE }, () => answer(204, ''))).toEqual({
      outcome: { kind: 'done' },
      methods: ['PUT', 'DELETE'],
    });
    expect(await revoke({ disable: DISABLE }, () => answer(404, ''))).toEqual({ outcome: { kind: 'done' }, methods: ['PUT'] });
    expect(await revoke({ disable: DISABLE }, () => answer(500, ''))).toMatchObject({
      outcome: { kind: 'refused', means: 'transient' },
      methods: ['PUT'],
    });
  });

  it('is over by the answers that its connector declares, and else by 404', async () => {
    const goneBy = [{ status: 400, text: 'no such key' }];
    const declared = { revoke: { ...(CALLS.revoke as NonNullable<Calls['revoke']>), goneBy } };
    expect((await revoke(declared, () => answer(400, 'No such key'))).outcome).toEqual({ kind: 'done' });
    expect((await revoke(declared, () => answer(404, ''))).outcome).toMatchObject({ kind: 'refused', cause: 'http_404' });
    expect((await revoke({}, () => answer(404, ''))).outcome).toEqual({ kind: 'done' });
  });

  it('that got no answer is told as such', async () => {
    const failing = (reason: 'connect_failed' | 'timeout') => () => {
      throw new EgressFailure(reason);
    };
    expect((await revoke({}, failing('connect_failed'))).outcome).toEqual({ kind: 'not_sent', cause: 'connect_failed' });
    expect((await revoke({}, failing('timeout'))).outcome).toEqual({ kind: 'lost', cause: 'timeout' });
  });

  it('by itself is known by its id alone', async () => {
    const byKey = { revoke: { method: 'DELETE', url: `${HOST}/keys/{value.key}` } } as const;
    const { target, urls } = targetOf(() => answer(401, ''), { admin: { key: 'k' } });
    expect(await rotatorOf(byKey).revoke?.(target, { key: 'k' })).toMatchObject({ kind: 'refused', cause: 'http_401' });
    expect(urls).toHaveLength(1);
  });

  it('that is refused for now is not asked of a test, nor is one without an id', async () => {
    const own = { admin: OLD };
    const busy: Answers = ({ method }) => answer(method === 'DELETE' ? 429 : 401, '');
    expect(await revoke({}, busy, own)).toMatchObject({ outcome: { means: 'transient' }, methods: ['DELETE'] });
    const withoutId = { admin: { key: 'k' } };
    expect(await revoke({}, () => answer(401, ''), withoutId)).toMatchObject({
      outcome: { kind: 'refused' },
      methods: ['DELETE'],
    });
    expect(await revoke({}, () => answer(401, ''), own)).toEqual({ outcome: { kind: 'done' }, methods: ['DELETE', 'GET'] });
  });
});

describe('a list of keys', () => {
  const item = (id: string) => ({ id, name: NAME });
  const removed = async (list: Partial<Calls['list']>, answers: (url: string) => unknown, calls: Partial<Calls> = {}) => {
    const { target, urls } = targetOf(({ method, url }) => {
      if (method === 'DELETE') return answer(204, '');
      if (method === 'POST') return made();
      const body = answers(url);
      return answer(200, typeof body === 'string' ? body : JSON.stringify(body));
    });
    const base = { method: 'GET', url: `${HOST}/keys`, items: '/items', id: '/id', name: '/name' } as const;
    const outcome = await rotatorOf({ list: { ...base, ...list } as NonNullable<Calls['list']>, ...calls }).create(target, true);
    return { outcome: outcome.kind, urls: urls.slice(0, -1).map((url) => url.replace(HOST, '')) };
  };

  it('without names, or of keys that cannot be ended, is not read', async () => {
    expect(await removed({ name: undefined } as never, () => ({ items: [item('a')] }))).toEqual({ outcome: 'done', urls: [] });
    expect(await removed({}, () => ({ items: [item('a')] }), { revoke: undefined as never })).toEqual({
      outcome: 'done',
      urls: [],
    });
  });

  it('of one page is read once', async () => {
    expect((await removed({}, () => ({ items: [item('a'), { id: 'b', name: 'else' }] }))).urls).toEqual([
      'GET /keys',
      'DELETE /keys/a',
    ]);
  });

  it('by number ends with a page that is not full', async () => {
    const pages = { by: 'number', parameter: 'p', first: 0, size: 2 } as const;
    const page = (url: string) => ({
      items: url.endsWith('p=0') ? [item('a'), item('b')] : url.endsWith('p=1') ? [item('c')] : [item('d')],
    });
    expect((await removed({ pages }, page)).urls).toEqual([
      'GET /keys?p=0',
      'GET /keys?p=1',
      'DELETE /keys/a',
      'DELETE /keys/b',
      'DELETE /keys/c',
    ]);
  });

  it('by cursor ends without a cursor, with an empty page, or with the cursor of the same page', async () => {
    const pages = { by: 'cursor', parameter: 'after', at: '/next' } as const;
    const urlsOf = async (next: readonly unknown[], isEmpty = false) => {
      let asked = 0;
      return (await removed({ pages }, () => ({ items: isEmpty ? [] : [{ id: 'x', name: 'else' }], next: next[asked++] }))).urls;
    };
    expect(await urlsOf(['a b', null])).toEqual(['GET /keys', 'GET /keys?after=a%20b']);
    expect(await urlsOf(['a', 'a', 'b'])).toEqual(['GET /keys', 'GET /keys?after=a']);
    expect(await urlsOf([7, ''])).toEqual(['GET /keys', 'GET /keys?after=7']);
    expect(await urlsOf(['a'], true)).toEqual(['GET /keys']);
  });

  it('by URL takes the query alone, and fills nothing into it', async () => {
    const pages = { by: 'url', at: '/next' } as const;
    const urlsOf = async (first: unknown) => {
      let asked = 0;
      return (
        await removed({ url: `${HOST}/keys?limit=1`, pages }, () => ({
          items: [{ id: 'x', name: 'else' }],
          next: asked++ === 0 ? first : null,
        }))
      ).urls;
    };
    expect(await urlsOf(`${HOST}/keys?page=2`)).toEqual(['GET /keys?limit=1', 'GET /keys?page=2']);
    expect(await urlsOf('https://evil.example/x?k={admin.key}')).toEqual(['GET /keys?limit=1', 'GET /keys?k=%7Badmin.key}']);
    for (const end of [`${HOST}/keys`, 'no url', null]) expect(await urlsOf(end)).toEqual(['GET /keys?limit=1']);
  });

  it('is read to the last page that is allowed', async () => {
    const pages = { by: 'cursor', parameter: 'c', at: '/next' } as const;
    const reading = async (count: number) => {
      let asked = 0;
      return removed({ pages }, () => ({ items: [{ id: 'x', name: 'else' }], next: ++asked < count ? asked : null }));
    };
    expect((await reading(LIMITS.keyListPagesMax)).outcome).toBe('done');
    expect((await reading(LIMITS.keyListPagesMax + 1)).outcome).toBe('refused');
  });

  it('in XML that is empty ends there', async () => {
    const pages = { by: 'cursor', parameter: 'c', at: '/r/next' } as const;
    const xml = '<r><keys/><next>a</next></r>';
    expect((await removed({ answer: 'xml', items: '/r/keys', pages }, () => xml)).urls).toEqual(['GET /keys']);
  });

  it('without names is counted all the same', async () => {
    const { name: _, ...nameless } = CALLS.list as NonNullable<Calls['list']>;
    const { target } = targetOf(() => answer(200, '{"items":[{"id":"a"}]}'));
    expect(await rotatorOf({ list: nameless }, { keysMaxCount: 2 }).check?.(target)).toEqual({ kind: 'done' });
  });

  it('in XML may have one element or none', async () => {
    const list = { answer: 'xml', items: '/r/keys/key' } as const;
    const urlsOf = async (xml: string) => (await removed(list, () => xml)).urls;
    const key = (id: string) => `<key><id>${id}</id><name>${NAME}</name></key>`;
    expect(await urlsOf(`<r><keys>${key('a')}${key('b')}</keys></r>`)).toEqual(['GET /keys', 'DELETE /keys/a', 'DELETE /keys/b']);
    expect(await urlsOf(`<r><keys>${key('a')}</keys></r>`)).toEqual(['GET /keys', 'DELETE /keys/a']);
    expect((await removed(list, () => '<r><keys/></r>')).outcome).toBe('done');
    expect((await removed(list, () => '<r><keys>')).outcome).toBe('odd');
    expect((await removed({ items: '/items' }, () => ({ items: {} }))).outcome).toBe('odd');
  });

  it('stops the rotation when a key of it cannot be ended', async () => {
    const { target, urls } = targetOf(({ method }) =>
      method === 'GET' ? answer(200, JSON.stringify({ items: [item('a'), item('b')] })) : answer(403, ''),
    );
    expect(await rotatorOf().create(target, true)).toMatchObject({ kind: 'refused', cause: 'http_403' });
    expect(urls).toEqual([`GET ${HOST}/keys`, `DELETE ${HOST}/keys/a`]);
  });
});

it('keys of an interrupted run can be removed where they have names and an end', () => {
  const { name: _, ...nameless } = CALLS.list as NonNullable<Calls['list']>;
  expect(rotatorOf().removeMade).toBeDefined();
  expect([rotatorOf({ list: nameless }).removeMade, rotatorOf({ revoke: undefined as never }).removeMade]).toEqual([
    undefined,
    undefined,
  ]);
});

it('a defect of the egress is told as one', async () => {
  const broken: Answers = () => {
    throw new RangeError('a defect');
  };
  await expect(create({}, broken)).rejects.toThrow('a defect');
});

describe('the secrets of a request', () => {
  it('are there until the answer is, and the answer to a challenge is wiped', async () => {
    const challenge = answer(401, 'who are you', { 'www-authenticate': 'Digest realm="r", nonce="n", qop="auth"' });
    const bodies: string[] = [];
    const { target } = targetOf(() => made());
    const slow: Target['egress'] = {
      send: async ({ body }) => {
        await new Promise((resume) => setImmediate(resume));
        bodies.push(textIn(body));
        return bodies.length === 1 ? challenge : made();
      },
    };
    const digest = { by: 'digest', username: '{admin.key_id}', password: '{admin.key}' } as const;
    expect(await rotatorOf({ authentication: digest }).create({ ...target, egress: slow }, false)).toMatchObject({
      kind: 'done',
    });
    expect(bodies).toEqual(Array(2).fill(`{"name":"${NAME}"}`));
    expect(challenge.body.reveal((bytes) => bytes.every((byte) => byte === 0))).toBe(true);
  });

  it('are signed into a form for a few minutes, for whoever exchanges them', async () => {
    const { privateKey } = generateKeyPairSync('rsa', {
      modulusLength: 2_048,
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    });
    const by = { by: 'jwt_bearer', issuer: '{admin.robot}', audience: HOST, privateKey: '{admin.pem}', scope: 's' } as const;
    const { sent } = await sentBy(
      { json: undefined, form: { a: 'b' } },
      { admin: { robot: 'r@x', pem: privateKey } },
      { authentication: by },
    );
    const form = new URLSearchParams(sent[0]?.body);
    expect([form.get('a'), form.get('grant_type')]).toEqual(['b', 'urn:ietf:params:oauth:grant-type:jwt-bearer']);
    const claims = JSON.parse(Buffer.from(form.get('assertion')?.split('.')[1] ?? '', 'base64url').toString());
    expect(claims).toMatchObject({ iss: 'r@x', aud: HOST, scope: 's' });
    expect(claims.exp - claims.iat).toBe(300);
  });
});

it('a key that is made by calls exists at its target from then on', () => {
  expect(rotatorOf().mintsAtTarget).toBe(true);
});

it('a plan shows each call with its parameters, and which cannot be undone', () => {
  const inspect = { method: 'GET', url: `${HOST}/keys/{old.key_id}`, takes: {} } as const;
  const disable = { method: 'PUT', url: `${HOST}/{parameters.team}/{old.team}/{parameters.none}/off` } as const;
  const plan = (strategy: KeySpec['strategy']) =>
    rotatorOf({ inspect, disable }, { strategy })
      .plan({ parameters: { team: 't1' } })
      .map(({ step, what, undoable }) => `${step} ${what.replace(HOST, '')} ${undoable}`);
  const steps = (mint: boolean) => [
    'check GET /keys true',
    'create GET /keys/{old.key_id} true',
    `create POST /keys ${mint}`,
    'test GET /me true',
    'revoke PUT /t1/{old.team}/{parameters.none}/off true',
    'revoke DELETE /keys/{value.key_id} false',
    'prove_dead GET /me true',
  ];
  expect([plan('overlap'), plan('in_place')]).toEqual([steps(true), steps(false)]);
});
