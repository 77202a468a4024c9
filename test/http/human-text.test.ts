// Every string that a request can hold, found in the schemas of all routes: none takes text that reads otherwise than it is written, but the
// few that hold a secret or something signed.
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ALL_ROUTES } from '../../src/http/app.ts';
import { callerOf, type EdgeInfo, parseRequest } from '../../src/http/edge.ts';
import type { RouteShape } from '../../src/http/route.ts';
import { caughtCode } from '../kit/outcome.ts';

const INFO: EdgeInfo = { address: '192.0.2.1', nextRequestId: () => 'req_1', secure: false };
const BAD = ['a\u202eb', 'a\nb', 'a\u200bb', 'a\u0000b'];

type Node = { readonly [key: string]: unknown };

/** The way to every string of a schema: members, `0` for the elements of a list, `key` for any name of a record. */
function* strings(schema: Node, definitions: Node, way: readonly string[] = []): Generator<readonly string[]> {
  if (typeof schema['$ref'] === 'string') {
    const name = schema['$ref'].split('/').at(-1) as string;
    if (way.length < 8) yield* strings(definitions[name] as Node, definitions, way);
    return;
  }
  for (const choice of [...((schema['anyOf'] ?? schema['oneOf'] ?? []) as Node[])]) yield* strings(choice, definitions, way);
  if (schema['type'] === 'string' && schema['enum'] === undefined && schema['const'] === undefined) yield way;
  for (const [name, member] of Object.entries((schema['properties'] ?? {}) as Record<string, Node>))
    yield* strings(member, definitions, [...way, name]);
  if (schema['items'] !== undefined) yield* strings(schema['items'] as Node, definitions, [...way, '0']);
  if (typeof schema['additionalProperties'] === 'object') {
    yield [...way, '*'];
    yield* strings(schema['additionalProperties'] as Node, definitions, [...way, 'key']);
  }
}

function holding(text: string, way: readonly string[]): unknown {
  const [first, ...rest] = way;
  if (first === undefined) return text;
  if (first === '*') return { [text]: 'x' };
  return first === '0' ? [holding(text, rest)] : { [first]: holding(text, rest) };
}

const wayOf = (schema: z.ZodType) => {
  const json = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Node;
  return [...new Set([...strings(json, (json['$defs'] ?? {}) as Node)].map((way) => way.join('/')))];
};

async function bodyRefusal(
  route: RouteShape,
  body: unknown,
): Promise<{ code?: string; pointer?: string; message?: string } | undefined> {
  const params = Object.fromEntries(Object.keys(route.fields).map((field) => [field, '']));
  const request = new Request('http://vault.example/', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const shape = { ...route, method: 'POST' as const, fields: {} };
  return Promise.resolve(parseRequest(shape, request, params, callerOf(request, INFO), INFO)).then(
    () => undefined,
    (error: { code: string; pointer: string; message: string }) => error,
  );
}

const RAW = /^(value|client_secret|client_private_jwk|client_private_key_pem|client_assertion)(\/|$)/;
const withBody = ALL_ROUTES.filter((route) => route.body !== undefined);
const withQuery = ALL_ROUTES.filter((route) => route.query !== undefined);

describe('text of a request', () => {
  it.each(withBody.map((route) => [`${route.method} ${route.path}`, route] as const))(
    'in the body of %s',
    async (_name, route) => {
      for (const way of wayOf(route.body as z.ZodType).filter((one) => !RAW.test(one))) {
        for (const text of BAD) {
          const refused = await bodyRefusal(route, holding(text, way === '' ? [] : way.split('/')));
          expect(refused, `${way} ${JSON.stringify(text)}`).toMatchObject({ code: 'invalid_request' });
          expect(refused?.message, way).toContain('plain text');
          expect(refused?.pointer, way).toBe(`/${way}`.replace(/\/\*?$/, ''));
          expect(refused?.message).not.toContain(text);
        }
      }
    },
  );

  it.each(withQuery.map((route) => [`${route.method} ${route.path}`, route] as const))('in the query of %s', (_name, route) => {
    for (const way of wayOf(route.query as z.ZodType)) {
      for (const text of BAD) {
        const request = new Request(`http://vault.example/?${way}=${encodeURIComponent(text)}`);
        const shape = { ...route, method: 'GET' as const, fields: {}, body: undefined } as unknown as RouteShape;
        expect(
          caughtCode(() => parseRequest(shape, request, {}, callerOf(request, INFO), INFO)),
          way,
        ).toBe('invalid_request');
      }
    }
  });

  it('walks what there is: descriptions, labels, names, URLs, settings, reasons', () => {
    const all = new Set(withBody.flatMap((route) => wayOf(route.body as z.ZodType)));
    for (const known of [
      'description',
      'labels/key',
      'labels/*',
      'name',
      'url',
      'config/client_id',
      'config/workflows/0/why',
      'networks/0',
      'grants/0/tenant',
    ])
      expect([...all], known).toContain(known);
  });

  it('that is a secret may be any: line breaks of a key, and bytes that look like marks', async () => {
    const route = ALL_ROUTES.find(({ operation }) => operation === 'credential.put') as RouteShape;
    for (const text of BAD) expect(await bodyRefusal(route, { kind: 'api_key', value: { key: text } })).toBeUndefined();
  });
});
