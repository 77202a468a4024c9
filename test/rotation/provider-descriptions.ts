// Checks a request with its provider's own description: OpenAPI, Google discovery or AWS service model, if the folder of them is there.
// It must never call a request valid that no description mentions: that is its own result.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import type { Sent } from './key-provider.ts';

const ROOT = join(import.meta.dirname, '..', '..');

/** The folder with `openapi/` and `recorded/`, beside the repository; data of the providers is not part of it. */
export const PROVIDERS = [
  process.env['KEYTURN_PROVIDERS'] ?? '',
  join(ROOT, '..', 'shared', 'providers'),
  join(ROOT, '..', '..', 'shared', 'providers'),
].find((path) => path !== '' && existsSync(join(path, 'openapi')));

/** Undefined: no description mentions this method and path. Empty: the request is valid. */
export type Faults = readonly string[] | undefined;

export function faultsOf(sent: Sent): Faults {
  const url = new URL(sent.url);
  for (const description of descriptions()) {
    const faults = description(sent, url);
    if (faults !== undefined) return faults;
  }
  return undefined;
}

/** Whether a description has calls of this host. */
export function isDescribed(url: string): boolean {
  const { origin } = new URL(url);
  descriptions();
  return hosts.some((pattern) => pattern.test(origin));
}

type Description = (sent: Sent, url: URL) => Faults;
const hosts: RegExp[] = [];
type Json = Record<string, unknown>;
let read: readonly Description[] | undefined;

function descriptions(): readonly Description[] {
  read ??= PROVIDERS === undefined ? [] : readdirSync(join(PROVIDERS, 'openapi')).flatMap((file) => describe(file));
  return read;
}

function describe(file: string): Description[] {
  const json = JSON.parse(readFileSync(join(PROVIDERS as string, 'openapi', file), 'utf8')) as Json;
  if (file.endsWith('.botocore.json')) {
    hosts.push(patternOf(`https://${(json as unknown as Model).metadata.endpointPrefix}.amazonaws.com`));
    return [byBotocore(json)];
  }
  if (file.endsWith('.discovery.json')) {
    hosts.push(patternOf(new URL(json['rootUrl'] as string).origin));
    return [byDiscovery(json)];
  }
  // A server may have a path, and a host that is the customer's own says nothing.
  for (const { url } of json['servers'] as readonly { url: string }[])
    if (!url.startsWith('https://{your')) hosts.push(patternOf(url.split('/').slice(0, 3).join('/')));
  return [byOpenApi(json)];
}

function patternOf(path: string): RegExp {
  const escaped = path.split(/\{[^}]+\}/).map((text) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`));
  return new RegExp(`^${escaped.join('[^/]+')}$`);
}

// ---- OpenAPI

interface Operation {
  readonly parameters?: readonly Json[];
  readonly requestBody?: Json;
}

function byOpenApi(spec: Json): Description {
  const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
  const paths = Object.entries(spec['paths'] as Record<string, Json>);
  const check = new Map<object, ValidateFunction>();
  const resolve = (value: unknown): Json => {
    const { $ref } = value as { $ref?: string };
    if ($ref === undefined) return value as Json;
    return resolve(
      $ref
        .slice(2)
        .split('/')
        .reduce((at, name) => (at as Json)[name.replaceAll('~1', '/')], spec as unknown),
    );
  };
  return (sent, url) => {
    for (const [path, item] of paths) {
      const servers = (item['servers'] ?? spec['servers']) as readonly { url: string }[];
      if (!servers.some((server) => patternOf(server.url + path).test(`${url.origin}${url.pathname}`))) continue;
      const operation = item[sent.method.toLowerCase()] as Operation | undefined;
      if (operation === undefined) continue;
      const parameters = [...((item['parameters'] as Json[]) ?? []), ...(operation.parameters ?? [])].map(resolve);
      return [...queryFaults(parameters, url), ...bodyFaults(operation, sent)];
    }
    return undefined;
  };

  function bodyFaults({ requestBody }: Operation, { headers, body }: Sent): string[] {
    if (requestBody === undefined) return body === '' || body === '{}' ? [] : ['a body is not described'];
    const content = resolve(requestBody)['content'] as Record<string, { schema: Json }>;
    const type = (headers['content-type'] ?? '').split(';')[0] as string;
    const described = content[type];
    if (described === undefined) return [`media type ${type}: described are ${Object.keys(content).join(', ')}`];
    const validate = check.get(described) ?? ajv.compile(closed(described.schema, resolve));
    check.set(described, validate);
    if (validate(type.includes('json') ? JSON.parse(body) : Object.fromEntries(new URLSearchParams(body)))) return [];
    return (validate.errors ?? []).map(
      ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
    );
  }
}

function queryFaults(parameters: readonly Json[], url: URL): string[] {
  const inQuery = parameters.filter((parameter) => parameter['in'] === 'query');
  const known = new Set(inQuery.map(({ name }) => name as string));
  const missing = inQuery.filter(({ name, required }) => required === true && !url.searchParams.has(name as string));
  return [
    ...[...url.searchParams.keys()].filter((name) => !known.has(name)).map((name) => `query ${name} is not described`),
    ...missing.map(({ name }) => `query ${name as string} is required`),
    ...inQuery.flatMap(({ name, schema }) => {
      const { maximum } = (schema ?? {}) as { maximum?: number };
      const given = Number(url.searchParams.get(name as string) ?? 0);
      return maximum !== undefined && given > maximum ? [`query ${name as string} is more than ${maximum}`] : [];
    }),
  ];
}

/** A copy of the schema with references resolved, `nullable` written as JSON Schema, and without unknown members. */
function closed(schema: unknown, resolve: (value: unknown) => Json, depth = 0): Json {
  if (depth > 12) return {};
  const { nullable, example, examples, ...own } = resolve(schema);
  const copy: Json = {};
  for (const [name, value] of Object.entries(own)) {
    if (['allOf', 'anyOf', 'oneOf'].includes(name))
      copy[name] = (value as unknown[]).map((part) => closed(part, resolve, depth + 1));
    else if (name === 'items') copy[name] = closed(value, resolve, depth + 1);
    else if (name === 'properties')
      copy[name] = Object.fromEntries(
        Object.entries(value as Json).map(([member, part]) => [member, closed(part, resolve, depth + 1)]),
      );
    // OpenAPI 3.0 writes a bound and whether it is exclusive as two members.
    else if (name === 'exclusiveMinimum' && value === true) copy['exclusiveMinimum'] = own['minimum'];
    else if (!/^(x-|exclusive|discriminator|xml|externalDocs|description|title|default)/.test(name)) copy[name] = value;
  }
  if (copy['properties'] !== undefined && copy['additionalProperties'] === undefined) copy['additionalProperties'] = false;
  return nullable === true ? { anyOf: [copy, { type: 'null' }] } : copy;
}

// ---- Google discovery documents

function byDiscovery(spec: Json): Description {
  const methods = Object.values(spec['methods'] as Record<string, Json>);
  const schemas = spec['schemas'] as Record<string, { properties?: Record<string, Json> }>;
  return (sent, url) => {
    if (url.origin !== new URL(spec['rootUrl'] as string).origin) return undefined;
    const method = methods.find(
      (entry) =>
        entry['httpMethod'] === sent.method && patternOf(`/${(entry['flatPath'] ?? entry['path']) as string}`).test(url.pathname),
    );
    if (method === undefined) return undefined;
    const parameters = Object.entries(method['parameters'] as Record<string, Json>).map(([name, entry]) => ({
      name,
      in: entry['location'],
    }));
    const request = schemas[(method['request'] as { $ref?: string } | undefined)?.$ref ?? ''];
    const members = sent.body === '' ? [] : Object.entries(JSON.parse(sent.body) as Json);
    return [
      ...queryFaults(parameters, url),
      ...members.flatMap(([name, value]) => {
        const property = request?.properties?.[name];
        if (property === undefined) return [`${name} is not described`];
        const allowed = property['enum'] as readonly unknown[] | undefined;
        return allowed === undefined || allowed.includes(value) ? [] : [`${name} has no such value`];
      }),
    ];
  };
}

// ---- AWS service models (the query protocol)

interface Model {
  readonly metadata: { readonly apiVersion: string; readonly endpointPrefix: string };
  readonly operations: Record<string, { readonly input?: { readonly shape: string } }>;
  readonly shapes: Record<string, { readonly members?: Json; readonly required?: readonly string[] }>;
}

function byBotocore(spec: Json): Description {
  const { metadata, operations, shapes } = spec as unknown as Model;
  return ({ method, body }, url) => {
    if (url.host !== `${metadata.endpointPrefix}.amazonaws.com`) return undefined;
    const { Action: action = '', Version: version, ...fields } = Object.fromEntries(new URLSearchParams(body));
    const operation = operations[action];
    if (operation === undefined) return undefined;
    const { members = {}, required = [] } = shapes[operation.input?.shape ?? ''] ?? {};
    return [
      ...(method === 'POST' && url.pathname === '/' ? [] : ['a query is a POST of /']),
      ...(version === metadata.apiVersion ? [] : ['another version']),
      ...Object.keys(fields)
        .filter((name) => !Object.hasOwn(members, name))
        .map((name) => `${name} is not described`),
      ...required.filter((name) => fields[name] === undefined).map((name) => `${name} is required`),
    ];
  };
}
