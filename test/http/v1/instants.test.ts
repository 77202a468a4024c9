// Every field and filter that takes an instant takes all its forms, keeps the same one, and says the forms when it cannot.
import { beforeAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { ALL_ROUTES } from '../../../src/http/app.ts';
import { type TestApp, testApp } from '../../kit/app.ts';

const FORMS = [
  '2027-01-01T00:00:00.000Z',
  '2027-01-01T00:00:00Z',
  '2027-01-01T00:00:00+00:00',
  '2027-01-01T01:00:00.000+01:00',
  '2027-01-01t00:00:00.000z',
  '2027-01-01T00:00:00.000456Z',
  '2027-01-01',
];
const SAME = '2027-01-01T00:00:00.000Z';

/** Every schema a request can reach, with its place. */
function* fieldsOf(schema: z.ZodType, at: string): Generator<[string, z.ZodType]> {
  const { def } = schema as unknown as { def: Record<string, unknown> };
  yield [at, schema];
  const inner = [def['innerType'], def['element'], def['valueType'], def['in'], ...((def['options'] as unknown[]) ?? [])];
  for (const one of inner) if (one !== undefined) yield* fieldsOf(one as z.ZodType, at);
  for (const [name, field] of Object.entries((def['shape'] ?? {}) as object))
    yield* fieldsOf(field as z.ZodType, `${at}/${name}`);
}

describe('a field that takes an instant', () => {
  const fields = new Map<string, z.ZodType>();
  for (const route of ALL_ROUTES) {
    const place = `${route.method} ${route.path}`;
    for (const [part, schema] of Object.entries({ body: route.body, query: route.query }))
      if (schema !== undefined)
        // Declared calls say where an answer has its end.
        for (const [at, field] of fieldsOf(schema, `${place} ${part}`))
          if (/(_at|since|until)$/.test(at) && !at.includes('/config/http/')) fields.set(at, field);
  }

  it('is found in every request', () => {
    expect(
      [...fields.keys()].map((at) =>
        at
          .split('/')
          .at(-1)
          ?.replace(/^.* (body|query)/, ''),
      ),
    ).toEqual(expect.arrayContaining(['expires_at', 'client_secret_expires_at', 'since', 'until']));
    expect(fields.size).toBeGreaterThan(6);
  });

  it.each(FORMS)('takes %s and keeps the same instant', (written) => {
    for (const [at, field] of fields) expect(field.safeParse(written), at).toEqual({ success: true, data: SAME });
  });

  it('refuses everything else with the forms', () => {
    for (const [at, field] of fields) {
      for (const wrong of ['tomorrow', '2027-02-30', '1798761600', '2027-01-01T00:00:00', '']) {
        const issue = field.safeParse(wrong).error?.issues[0];
        expect(issue?.message, at).toMatch(/^must be an RFC 3339 instant such as .* or a date such as 2027-01-31/);
      }
    }
  });
});

describe('over the interface', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await testApp();
    await app.call({ method: 'POST', path: '/v1/tenants', body: { name: 'acme' } });
  });

  it.each(FORMS)('an end date is %s', async (expires_at) => {
    const path = '/v1/tenants/acme/environments/staging/credentials/dated';
    const body = { kind: 'api_key', value: { key: 'not-a-real-secret' }, expires_at };
    expect((await app.call({ method: 'PUT', path, body })).json).toMatchObject({ expires_at: SAME });
  });

  it('the log is searched between instants, also where a plus was not encoded', async () => {
    for (const since of ['2026-01-01', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00%2B01:00', '2026-01-01T00:00:00+01:00'])
      expect((await app.call({ path: `/v1/tenants/acme/audit/events?since=${since}` })).json.items.length).toBeGreaterThan(0);
    const none = await app.call({ path: '/v1/tenants/acme/audit/events?until=2026-01-01' });
    expect(none.json.items).toEqual([]);
    const wrong = await app.call({ path: '/v1/tenants/acme/audit/events?since=yesterday' });
    expect(wrong).toMatchObject({ status: 400, json: { pointer: '?since' } });
    expect(wrong.json.detail).toMatch(/^the field must be an RFC 3339 instant/);
  });
});
