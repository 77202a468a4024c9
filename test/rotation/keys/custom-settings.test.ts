// What an operator may describe in the settings http, webhook and program: every rule, with the field that breaks it.
import { describe, expect, it } from 'vitest';
import { connectors } from '../../../rotation/catalog.ts';
import { resolveKey } from '../../../rotation/keys/key-settings.ts';
import { keyConfig } from '../../../src/vault/rotation-state.ts';
import { docExample } from '../../kit/doc-examples.ts';

const program = { ask: () => Promise.reject(new Error('a put starts no program')) };
const ports = { connectors, programs: (name: string) => (name === 'rotate-erp' ? program : undefined) };

type Json = Record<string, unknown>;

/** The example of the docs, with another value at a path such as `http.calls.mint.url`; undefined removes the member. */
function changed(example: Json, path: string, value: unknown): Json {
  const copy = structuredClone(example);
  const segments = path.split('.');
  const last = segments.pop() ?? '';
  let at = copy;
  for (const segment of segments) at = at[segment] as Json;
  if (value === undefined) delete at[last];
  else at[last] = value;
  return copy;
}

/** As the wire and the put check: the shapes first, then the rules. */
function check(connector: string, config: Json, kind = 'api_key'): { pointer?: string; rule: string } | 'accepted' {
  const parsed = keyConfig.safeParse(config);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return { pointer: `/config/${issue?.path.join('/')}`, rule: issue?.message ?? '' };
  }
  try {
    resolveKey(ports, kind, connector, parsed.data);
    return 'accepted';
  } catch (error) {
    const { pointer, message } = error as { pointer: string; message: string };
    return { pointer, rule: message };
  }
}

const http = JSON.parse(docExample('custom-rotators.md', 'http')) as Json;
const webhook = JSON.parse(docExample('custom-rotators.md', 'webhook')) as Json;
const byProgram: Json = {
  program: {
    name: 'rotate-erp',
    strategy: 'single_user',
    steps: { set: { sends: ['value.password', 'admin.password'] }, test: { sends: ['value.password'] } },
  },
};

describe('the examples of the docs', () => {
  it('are accepted, and so is a credential that only manages others', () => {
    expect(check('generic-http', http)).toBe('accepted');
    expect(check('generic-webhook', webhook)).toBe('accepted');
    expect(check('generic-program', byProgram, 'basic')).toBe('accepted');
    expect(check('generic-http', { manages: true, http: { hosts: ['api.crm.example'] } })).toBe('accepted');
    expect(check('generic-webhook', { manages: true, webhook: { url: 'https://ops.example/' } })).toBe('accepted');
    expect(check('generic-program', { manages: true, program: { name: 'rotate-erp' } }, 'basic')).toBe('accepted');
  });
});

describe('requests are refused', () => {
  it.each([
    ['http.hosts', [], '/config/http/hosts', ''],
    ['http.hosts.0', 'localhost', '/config/http/hosts/0', 'at least one dot'],
    ['http.hosts.0', '*.crm.example', '/config/http/hosts/0', 'must be a host name'],
    ['http.hosts.0', '127.0.0.1', '/config/http/hosts/0', 'must be a public host'],
    ['http.hosts.0', '10.1.2.3', '/config/http/hosts/0', 'must be a public host'],
    ['http.hosts.0', '169.254.169.254', '/config/http/hosts/0', 'must be a public host'],
    ['http.hosts.0', 'db.localhost', '/config/http/hosts/0', 'must be a public host'],
    ['http.calls.mint.url', 'https://other.example/keys', '/config/http/calls/mint/url', 'one of the hosts'],
    ['http.calls.mint.url', 'http://api.crm.example/keys', '/config/http/calls/mint/url', 'must begin with https://'],
    ['http.calls.mint.url', 'https://{parameters.host}/keys', '/config/http/calls/mint/url', 'one of the hosts'],
    ['http.calls.mint.url', 'https://api.crm.example@evil.example/', '/config/http/calls/mint/url', 'one of the hosts'],
    ['http.calls.mint.json.name', '{parameters.x}', '/config/http/calls/mint/json', '{parameters.x}'],
    ['http.calls.mint.json.name', '{value.key}', '/config/http/calls/mint/json', '{value.key}'],
    ['http.calls.test.url', 'https://api.crm.example/{old.key}', '/config/http/calls/test/url', '{old.key}'],
    ['http.calls.test.url', 'https://api.crm.example/{nme}', '/config/http/calls/test/url', '{nme}'],
    ['http.calls.test.authentication', { by: 'none' }, '/config/http/calls/test', 'must use the value'],
    ['http.calls.authentication', undefined, '/config/http/calls/authentication', ''],
    [
      'http.calls.authentication.headers',
      { Authorization: 'x' },
      '/config/http/calls/authentication/headers/Authorization',
      'lower case',
    ],
    ['http.calls.authentication.headers', { host: 'x' }, '/config/http/calls/authentication/headers/host', 'none of host'],
    [
      'http.calls.authentication.headers',
      { authorization: 'a\r\nb: c' },
      '/config/http/calls/authentication/headers/authorization',
      'control',
    ],
    [
      'http.calls.authentication',
      { by: 'sigv4', service: 'iam', region: 'eu', key_id: '{admin.key_id}', key: '{admin.key}' },
      '/config/http/calls/inspect/url',
      'for sigv4',
    ],
    ['http.calls.list.name', undefined, '/config/http/calls/list', 'must have a name'],
    ['http.calls.mint.json', {}, '/config/http/calls/mint', '{name}'],
    ['http.calls.mint.form', { a: 'b' }, '/config/http/calls/mint/form', 'together with json'],
    ['http.calls.mint.method', 'GET', '/config/http/calls/mint/method', 'with a body'],
    ['http.calls.mint.takes', { secret: '/s' }, '/config/http/calls/mint/takes/secret', 'api_key: key, key_id'],
    ['http.calls.mint.takes', { key_id: '/id' }, '/config/http/calls/mint/takes', 'must take a new key'],
    ['http.calls.mint.takes', { key: '/s' }, '/config/http/calls/mint/takes', 'identifies the key'],
    ['http.calls.revoke', undefined, '/config/http/calls/revoke', 'is missing'],
    ['http.strategy', 'in_place', '/config/http/calls/revoke', 'must be absent'],
    ['http.calls.lifetime', { default_days: 90, max_days: 30 }, '/config/http/calls/lifetime/default_days', 'at most max_days'],
    ['http.calls.test.works_when.at', 'id', '/config/http/calls/test/works_when/at', ''],
    ['http.calls.unknown', {}, '/config/http/calls', ''],
    ['webhook', { url: 'https://ops.example/' }, '/config/webhook', 'no effect'],
  ])('for %s = %j', (path, value, pointer, rule) => {
    expect(check('generic-http', changed(http, path, value))).toEqual({ pointer, rule: expect.stringContaining(rule) });
  });

  it('with another connector, and without the setting', () => {
    expect(check('sendgrid-api-key', http)).toMatchObject({
      pointer: '/config/http',
      rule: expect.stringContaining('no effect'),
    });
    expect(check('generic-http', {})).toMatchObject({ pointer: '/config/http' });
    expect(check('generic-http', { http: { hosts: ['a.example'] } })).toMatchObject({ pointer: '/config/http/calls' });
    expect(check('generic-http', { ...http, manages: true })).toMatchObject({ pointer: '/config/http/calls' });
  });
});

describe('a webhook is refused', () => {
  it.each([
    ['webhook.url', 'http://ops.example/rotate', '/config/webhook/url', 'https://'],
    ['webhook.url', 'https://10.0.0.1/rotate', '/config/webhook/url', 'must be a public host'],
    ['webhook.url', 'https://user:secret@ops.example/', '/config/webhook/url', 'user name'],
    ['webhook.steps.create.sends', ['value.key'], '/config/webhook/steps/create/sends/0', 'create has no new value'],
    ['webhook.steps.test.sends', ['admin.key'], '/config/webhook/steps/test/sends/0', 'never sent'],
    ['webhook.steps.test.sends', ['key'], '/config/webhook/steps/test/sends/0', 'old.<member>'],
    ['webhook.steps.test', undefined, '/config/webhook/steps/test', ''],
    ['webhook.steps.revoke', undefined, '/config/webhook/steps/revoke', 'needs it'],
    ['webhook.steps.create', undefined, '/config/webhook/steps', 'must have create, or set'],
    ['webhook.strategy', 'in_place', '/config/webhook/steps/revoke', 'must be absent'],
    ['webhook.strategy', 'single_user', '/config/webhook/steps/set', 'needs it'],
    ['webhook.strategy', 'alternating_users', '/config/webhook/strategy', ''],
    ['webhook.returns', undefined, '/config/webhook/returns', 'is missing'],
    ['webhook.returns', ['password'], '/config/webhook/returns', 'api_key: key, key_id'],
    ['webhook.generates', 'key', '/config/webhook/generates', 'must be absent'],
    ['webhook.steps', undefined, '/config/webhook/steps', 'is missing'],
    ['admin', undefined, '/config/admin', 'needs the setting admin'],
  ])('for %s = %j', (path, value, pointer, rule) => {
    expect(check('generic-webhook', changed(webhook, path, value))).toEqual({ pointer, rule: expect.stringContaining(rule) });
  });
});

describe('a program is refused', () => {
  it.each([
    ['program.name', 'another', '/config/program/name', 'no program of this name'],
    ['program.name', '/bin/sh', '/config/program/name', 'must be the name'],
    ['program.path', '/bin/sh', '/config/program', ''],
    ['program.args', ['-c'], '/config/program', ''],
    ['program.generates', 'secret', '/config/program/generates', 'basic: username, password'],
    ['sandbox', 'http://127.0.0.1:9', '/config/sandbox', 'no effect'],
  ])('for %s = %j', (path, value, pointer, rule) => {
    expect(check('generic-program', changed(byProgram, path, value), 'basic')).toEqual({
      pointer,
      rule: expect.stringContaining(rule),
    });
  });

  it('where the platform has none', () => {
    const { programs: _, ...others } = ports;
    expect(() => resolveKey(others, 'basic', 'generic-program', keyConfig.parse(byProgram))).toThrow('no program of this name');
  });
});
