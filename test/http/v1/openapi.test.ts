// The OpenAPI document is generated from the routes; here it is held to OpenAPI 3.1 and to the routes.
import { beforeAll, describe, expect, it } from 'vitest';
import { OPERATIONS } from '../../../src/access/operations.ts';
import { ALL_ROUTES } from '../../../src/http/app.ts';
import { openApiDocument } from '../../../src/http/openapi.ts';
import { STATUS_OF } from '../../../src/http/problems.ts';
import { testApp } from '../../kit/app.ts';

type Json = { [key: string]: Json } & Json[];
let document: Json;

beforeAll(async () => {
  const { call } = await testApp();
  const answer = await call({ path: '/openapi.json', token: null });
  expect(answer.status).toBe(200);
  document = answer.json as Json;
});

/** Every object in the document with its place. */
function* walk(node: Json, at = '#'): Generator<[string, Json]> {
  if (typeof node !== 'object' || node === null) return;
  yield [at, node];
  for (const [key, child] of Object.entries(node)) yield* walk(child as Json, `${at}/${key}`);
}

function resolve(reference: string): unknown {
  let node: unknown = document;
  for (const part of reference.slice(2).split('/')) {
    node = (node as Record<string, unknown> | undefined)?.[part.replaceAll('~1', '/').replaceAll('~0', '~')];
  }
  return node;
}

/** What a reference means, or the thing itself. */
function resolved(node: Json): Json {
  const reference = node['$ref'] as unknown;
  return typeof reference === 'string' ? (resolve(reference) as Json) : node;
}

const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'];
const operations = () =>
  Object.entries(document['paths'] as Json).flatMap(([path, item]) =>
    METHODS.filter((method) => method in item).map((method) => ({ path, method, operation: (item as Json)[method] as Json })),
  );

describe('the OpenAPI document', () => {
  it('names every status of a problem, and for each route those it can refuse with', () => {
    const components = document['components'] as Json;
    const described = Object.keys(components['responses'] as Json).map((name) => Number(name.replace('Problem', '')));
    const raised = new Set(Object.values(STATUS_OF));
    expect([...raised].filter((status) => !described.includes(status) && status !== 405)).toEqual([]);
    for (const route of ALL_ROUTES) {
      const operation = ((document['paths'] as Json)[route.path] as Json)[route.method.toLowerCase()] as Json;
      const told = Object.keys(operation['responses'] as Json);
      const isOpen = route.operation === 'public' && !route.path.startsWith('/v1/tenants/{tenant}');
      const needed = isOpen ? [400] : [400, 401, 403, 423, 429, 500, 503, 507];
      const more = [
        ...(route.body === undefined ? [] : [413, 415]),
        ...(route.idempotent === true ? [422] : []),
        ...(['write', 'condition'].includes(route.etag ?? '') ? [412] : []),
      ];
      for (const status of [...needed, ...more]) expect(told, `${route.method} ${route.path}`).toContain(String(status));
    }
  });

  it('says how an Idempotency-Key, a condition and a cursor are written, as the edge reads them', () => {
    const parameters = (document['components'] as Json)['parameters'] as Json;
    const pattern = (name: string) => new RegExp(String(((parameters[name] as Json)['schema'] as Json)['pattern']));
    for (const good of ['a', '!~', 'x'.repeat(128)]) expect(pattern('IdempotencyKey').test(good)).toBe(true);
    for (const bad of ['', 'a b', 'é', 'x'.repeat(129)]) expect(pattern('IdempotencyKey').test(bad)).toBe(false);
    expect(pattern('IfMatch').test('"r12"')).toBe(true);
    for (const route of ALL_ROUTES) {
      const operation = ((document['paths'] as Json)[route.path] as Json)[route.method.toLowerCase()] as Json;
      const names = ((operation['parameters'] ?? []) as Json[]).map(resolved).map((one) => String(one['name']));
      expect(names.includes('Idempotency-Key'), `${route.method} ${route.path}`).toBe(route.idempotent === true);
      expect(names.includes('If-Match'), `${route.method} ${route.path}`).toBe(['write', 'condition'].includes(route.etag ?? ''));
      const wantsCursor =
        route.success.schema !== undefined && JSON.stringify(operation).includes('next_cursor') && route.query !== undefined;
      expect(names.includes('cursor'), `${route.method} ${route.path}`).toBe(wantsCursor);
    }
  });

  it('shows examples that the service itself takes', () => {
    const shown = ALL_ROUTES.flatMap((route) => Object.values(route.examples ?? {}).map((example) => [route, example] as const));
    expect(shown.length).toBeGreaterThan(7);
    for (const [route, example] of shown) expect(route.body?.safeParse(example).error, route.path).toBeUndefined();
  });

  it('is what it says: version 3.1 with title, version and licence, and plain JSON', () => {
    expect(document).toMatchObject({
      openapi: expect.stringMatching(/^3\.1\.\d+$/),
      info: { title: 'Keyturn', version: expect.stringMatching(/./), license: { identifier: 'Apache-2.0' } },
    });
    const made = openApiDocument(ALL_ROUTES, '0.0.0-test');
    expect(JSON.parse(JSON.stringify(made))).toEqual(document);
    const knownMembers = [
      'openapi',
      'info',
      'jsonSchemaDialect',
      'servers',
      'paths',
      'webhooks',
      'components',
      'security',
      'tags',
    ];
    expect(Object.keys(document).filter((key) => !knownMembers.includes(key))).toEqual([]);
  });

  it('holds exactly the routes there are', () => {
    const listed = operations().map(({ path, method }) => `${method.toUpperCase()} ${path}`);
    expect(listed.sort()).toEqual(ALL_ROUTES.map((route) => `${route.method} ${route.path}`).sort());
  });

  it('resolves every reference and every security scheme', () => {
    for (const [at, node] of walk(document)) {
      const reference = node['$ref'] as unknown;
      if (reference === undefined) continue;
      expect(reference, at).toMatch(/^#\//);
      expect(resolve(String(reference)), `${at} -> ${reference}`).toBeDefined();
    }
    for (const { path, operation } of operations()) {
      for (const requirement of (operation['security'] ?? []) as Json[]) {
        for (const scheme of Object.keys(requirement)) {
          expect(resolve(`#/components/securitySchemes/${scheme}`), path).toBeDefined();
        }
      }
    }
  });

  it('gives every operation an id of its own, a summary, a tag and a problem answer', () => {
    const ids = operations().map(({ operation }) => String(operation['operationId']));
    expect(new Set(ids).size).toBe(ids.length);
    for (const { path, method, operation } of operations()) {
      const place = `${method} ${path}`;
      expect(operation['operationId'], place).toMatch(/^[a-z]+([A-Z][A-Za-z]*)+$/);
      expect(String(operation['summary']).length, place).toBeGreaterThan(5);
      expect(operation['tags'], place).toHaveLength(1);
      const responses = operation['responses'] as Json;
      expect(Object.keys(responses), place).toContain('default');
      expect(responses['default'], place).toMatchObject({ content: { 'application/problem+json': {} } });
      for (const response of Object.values(responses))
        expect((resolved(response) as Json)['description'], place).toBeTypeOf('string');
    }
  });

  it('declares every field of every path, required and nothing else in the path', () => {
    for (const { path, method, operation } of operations()) {
      const fields = [...path.matchAll(/\{([^}]+)\}/g)].map((match) => match[1]);
      const declared = ((operation['parameters'] ?? []) as Json[]).filter((one) => String(one['in']) === 'path');
      const place = `${method} ${path}`;
      expect(declared.map((one) => one['name']).sort(), place).toEqual(fields.sort());
      expect(
        declared.every((one) => String(one['required']) === 'true'),
        place,
      ).toBe(true);
      const names = ((operation['parameters'] ?? []) as Json[]).map(resolved).map((one) => `${one['in']}:${one['name']}`);
      expect(new Set(names).size, place).toBe(names.length);
    }
  });

  it('has a body where the route takes one, never with GET, and asks for a token wherever the door does', () => {
    for (const route of ALL_ROUTES) {
      const operation = ((document['paths'] as Json)[route.path] as Json)[route.method.toLowerCase()] as Json;
      const place = `${route.method} ${route.path}`;
      expect(operation['requestBody'] !== undefined, place).toBe(route.body !== undefined);
      if (route.method === 'GET') expect(route.body, place).toBeUndefined();
      const open = route.operation === 'public' || route.operation === 'token.exchange';
      const schemes = ((operation['security'] ?? []) as Json[]).flatMap((one) => Object.keys(one));
      expect(schemes, place).toEqual(route.operation === 'token.exchange' ? ['client'] : open ? [] : ['bearer']);
      if (!open && route.operation !== 'self') expect(Object.keys(OPERATIONS), place).toContain(route.operation);
    }
  });

  it('refuses unknown members in every body and query it describes, as the service does', () => {
    for (const { path, method, operation } of operations()) {
      const bodies = ((operation['requestBody'] as Json | undefined)?.['content'] ?? {}) as Json;
      for (const content of Object.values(bodies)) {
        const schema = (content as Json)['schema'] as Json;
        const variants = (schema['oneOf'] ?? schema['anyOf'] ?? [schema]) as Json[];
        for (const variant of variants) expect(resolved(variant)['additionalProperties'], `${method} ${path}`).toBe(false);
      }
    }
  });

  it('names no type that JSON Schema does not know', () => {
    const types = new Set(['string', 'number', 'integer', 'boolean', 'array', 'object', 'null']);
    const schemas = [...walk(document)].filter(([at]) => /\/(schema|schemas|properties|items|additionalProperties|oneOf|anyOf|allOf)(\/|$)/.test(at)); // biome-ignore format: one line
    for (const [at, node] of schemas) {
      const type = node['type'] as unknown;
      if (/\/properties$/.test(at) || type === undefined) continue;
      for (const one of Array.isArray(type) ? type : [type]) if (typeof one === 'string') expect(types, at).toContain(one);
      expect(node, at).not.toHaveProperty('nullable'); // a 3.0 word, ignored by 3.1
    }
  });
});
