// The OpenAPI document is generated from the routes; here it is held to OpenAPI 3.1 and to the routes.
import { beforeAll, describe, expect, it } from 'vitest';
import { OPERATIONS } from '../../../src/access/operations.ts';
import { ALL_ROUTES } from '../../../src/http/app.ts';
import { openApiDocument } from '../../../src/http/openapi.ts';
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

const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'];
const operations = () =>
  Object.entries(document['paths'] as Json).flatMap(([path, item]) =>
    METHODS.filter((method) => method in item).map((method) => ({ path, method, operation: (item as Json)[method] as Json })),
  );

describe('the OpenAPI document', () => {
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
      for (const response of Object.values(responses)) expect((response as Json)['description'], place).toBeTypeOf('string');
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
      const names = ((operation['parameters'] ?? []) as Json[]).map((one) => `${one['in']}:${one['name']}`);
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
      expect(operation['security'] !== undefined, place).toBe(!open);
      if (!open && route.operation !== 'self') expect(Object.keys(OPERATIONS), place).toContain(route.operation);
    }
  });

  it('refuses unknown members in every body and query it describes, as the service does', () => {
    for (const { path, method, operation } of operations()) {
      const bodies = ((operation['requestBody'] as Json | undefined)?.['content'] ?? {}) as Json;
      for (const content of Object.values(bodies)) {
        const schema = (content as Json)['schema'] as Json;
        const variants = (schema['oneOf'] ?? schema['anyOf'] ?? [schema]) as Json[];
        for (const variant of variants) expect(variant['additionalProperties'], `${method} ${path}`).toBe(false);
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
