// A secret in the place of a name, in the body or the query of any route, comes back in no part of an error.
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ALL_ROUTES } from '../../src/http/app.ts';
import { callerOf, type EdgeInfo, parseRequest } from '../../src/http/edge.ts';
import type { RouteShape } from '../../src/http/route.ts';
import { isShownName } from '../../src/http/shown-names.ts';

const INFO: EdgeInfo = { address: '192.0.2.1', nextRequestId: () => 'req_1', secure: false };

/** Made up, in the shapes of secrets that people paste. */
const SECRETS = [
  'not-a-real-secret',
  'sk_live_4eC39HqLyjWDarjtT1zdp7',
  'AKIAIOSFODNN7EXAMPLE',
  'kt_wkl_0123456789abcdefghijklmnopqrstuv',
  'd41d8cd98f00b204e9800998ecf8427e',
  'abcdefghijklmnopqrstuvwx',
  'Tr0ub4dor',
  'hunter2',
  'eyJhbGciOiJIUzI1NiJ9',
  'correct horse battery staple',
];

type Node = { readonly [key: string]: unknown };

/** The way to every object of a schema: members, `0` for the elements of a list, `key` for any name of a record. */
function* objects(schema: Node, definitions: Node, way: readonly string[] = []): Generator<readonly string[]> {
  if (typeof schema['$ref'] === 'string') {
    const name = schema['$ref'].split('/').at(-1) as string;
    if (way.length < 8) yield* objects(definitions[name] as Node, definitions, way);
    return;
  }
  for (const choice of (schema['anyOf'] ?? schema['oneOf'] ?? schema['allOf'] ?? []) as Node[])
    yield* objects(choice, definitions, way);
  if (schema['type'] === 'object') yield way;
  for (const [name, member] of Object.entries((schema['properties'] ?? {}) as Record<string, Node>))
    yield* objects(member, definitions, [...way, name]);
  if (schema['items'] !== undefined) yield* objects(schema['items'] as Node, definitions, [...way, '0']);
  if (typeof schema['additionalProperties'] === 'object')
    yield* objects(schema['additionalProperties'] as Node, definitions, [...way, 'key']);
}

const jsonOf = (schema: z.ZodType) => z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Node;
const waysOf = (schema: z.ZodType) => {
  const json = jsonOf(schema);
  return [...new Set([...objects(json, (json['$defs'] ?? {}) as Node)].map((way) => way.join('/')))];
};

function around(text: string, way: string): string {
  const steps = way === '' ? [] : way.split('/');
  return steps.reduceRight((inner, step) => (step === '0' ? `[${inner}]` : `{${JSON.stringify(step)}:${inner}}`), text);
}

const memberTexts = (name: string) => {
  const quoted = JSON.stringify(name);
  return [
    `{${quoted}:1}`,
    `{${quoted}:"x"}`,
    `{${quoted}:"a\\u200bb"}`,
    `{${quoted}:{"x":[null]}}`,
    `{${quoted}:1,${quoted}:2}`,
    `{${quoted}:{"x":1,"x":1}}`,
    `{${quoted}:`,
  ];
};

async function refusalOf(shape: RouteShape, request: Request): Promise<string | undefined> {
  try {
    await parseRequest(shape, request, {}, callerOf(request, INFO), INFO);
    return undefined;
  } catch (error) {
    const { message, pointer, extra, evidence } = error as {
      message: string;
      pointer?: string;
      extra?: unknown;
      evidence?: string;
    };
    return JSON.stringify([message, pointer, extra, evidence]);
  }
}

const withBody = ALL_ROUTES.filter((route) => route.body !== undefined);
const names = new Set<string>();

describe('a secret in the place of a name', () => {
  it.each(withBody.map((route) => [`${route.method} ${route.path}`, route] as const))(
    'is not repeated by %s',
    async (_name, route) => {
      const ways = waysOf(route.body as z.ZodType);
      expect(ways.length).toBeGreaterThan(0);
      for (const way of ways) {
        for (const secret of SECRETS) {
          for (const text of memberTexts(secret)) {
            const headers = { 'content-type': 'application/json' };
            const request = new Request('http://vault.example/', { method: 'POST', headers, body: around(text, way) });
            const refused = await refusalOf({ ...route, method: 'POST', fields: {} } as RouteShape, request);
            expect(refused ?? '', `${way} ${text}`).not.toContain(secret);
          }
        }
      }
    },
  );

  it('is not repeated of any query', async () => {
    for (const route of ALL_ROUTES) {
      for (const secret of SECRETS) {
        const text = encodeURIComponent(secret);
        for (const query of [`${text}=1`, text, `${text}=1&${text}=2`, `${text}=a%E2%80%8Bb`]) {
          const shape = { ...route, method: 'GET', fields: {}, body: undefined } as unknown as RouteShape;
          const refused = await refusalOf(shape, new Request(`http://vault.example/?${query}`));
          expect(refused ?? '', `${route.path} ${query}`).not.toContain(secret);
        }
      }
    }
  });
});

describe('a name of ours', () => {
  it('is shown wherever a route knows it, and so is a slip of the pen', () => {
    for (const schema of ALL_ROUTES.flatMap((route) => [route.body, route.query].filter((one) => one instanceof z.ZodType))) {
      for (const way of waysOf(schema as z.ZodType))
        for (const step of way.split('/').filter((one) => !/^(0|key|)$/.test(one))) names.add(step);
      for (const name of Object.keys((jsonOf(schema as z.ZodType)['properties'] ?? {}) as object)) {
        names.add(name);
        expect(isShownName(name, schema as z.ZodType), name).toBe(true);
      }
    }
    expect(names.size).toBeGreaterThan(40);
    for (const slip of ['lable', 'clientid', 'client_di', 'descripton']) expect(isShownName(slip), slip).toBe(true);
    for (const secret of SECRETS) expect(isShownName(secret), secret).toBe(false);
  });

  it('leads to the place where an unknown one stands', async () => {
    const route = withBody.find(({ path }) => path.endsWith('/environments')) as RouteShape;
    const sent = (body: string) =>
      refusalOf(
        { ...route, fields: {} },
        new Request('http://vault.example/', { method: 'POST', headers: { 'content-type': 'application/json' }, body }),
      );
    expect(await sent('{"name":"staging","lable":1}')).toBe(
      '["the field is unknown: remove it, or check its spelling in /openapi.json","/lable",{},null]',
    );
    expect(await sent('{"name":"staging","sk_live_4eC39HqLyjWDarjtT1zdp7":1}')).toBe(
      '["the field has a member with an unknown name: remove it, or check its spelling in /openapi.json","",{},null]',
    );
  });
});
