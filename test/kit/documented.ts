// Holds real answers to the OpenAPI document: the status, media type and headers it names, and the schema of the body.
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { VERSION } from '../../src/base/version.ts';
import { ALL_ROUTES } from '../../src/http/app.ts';
import { openApiDocument } from '../../src/http/openapi.ts';

// biome-ignore lint/suspicious/noExplicitAny: a document is looked into freely
type Json = any;

const document = openApiDocument(ALL_ROUTES, VERSION) as Json;
const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: true });
(addFormats as unknown as (ajv: Ajv2020) => void)(ajv);
const ID = 'https://keyturn.example/openapi.json';
ajv.addSchema({ ...closed(document), $id: ID });

interface Documented {
  readonly place: string;
  readonly shape: RegExp;
  readonly operation: Json;
}

const OPERATIONS: readonly Documented[] = ALL_ROUTES.map((route) => ({
  place: `${route.method} ${route.path}`,
  shape: new RegExp(`^${route.method} ${route.path.replaceAll(/\{[a-z]+\}/g, '[^/]+')}$`),
  operation: document.paths[route.path][route.method.toLowerCase()],
}));

/** How often each route answered with each status. */
export const answered = new Map<string, Set<number>>();

export interface RealAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: unknown;
}

/** What of an answer is not as the document says; empty where all is, and for paths that are no route. */
export function undocumented(method: string, path: string, answer: RealAnswer): string[] {
  const [pathname = ''] = path.split(/[?#]/);
  const found = OPERATIONS.find(({ shape }) => shape.test(`${method} ${pathname}`));
  if (found === undefined) return [];
  const { place, operation } = found;
  answered.set(place, (answered.get(place) ?? new Set()).add(answer.status));
  const at = `${place} ${answer.status}`;
  const said = operation.responses[answer.status];
  if (said === undefined) return [`${at}: this status is not documented`];
  const response = said.$ref === undefined ? said : document.components.responses[said.$ref.split('/').at(-1)];
  return [...wrongHeaders(response, answer), ...wrongBody(response, answer)].map((what) => `${at}: ${what}`);
}

function wrongHeaders({ headers = {} }: Json, answer: RealAnswer): string[] {
  const isOptional = (name: string) => name === 'Retry-After' || name === 'WWW-Authenticate';
  const missing = Object.keys(headers).filter((name) => !isOptional(name) && !answer.headers.has(name));
  const untold = ['etag', 'location'].filter(
    (name) => answer.headers.has(name) && !Object.keys(headers).some((one) => one.toLowerCase() === name),
  );
  return [
    ...missing.map((name) => `the header ${name} is missing`),
    ...untold.map((name) => `the header ${name} is not documented`),
  ];
}

function wrongBody({ content }: Json, answer: RealAnswer): string[] {
  const type = (answer.headers.get('content-type') ?? '').split(';')[0] ?? '';
  if (content === undefined) return type === '' ? [] : ['has a body that is not documented'];
  const said = content[type];
  if (said === undefined) return [`the media type ${type} is not documented`];
  if (!type.endsWith('json')) return [];
  const validate = compiled(said.schema);
  return validate(answer.body) ? [] : (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
}

const KNOWN = new Map<unknown, ReturnType<typeof ajv.compile>>();

function compiled(schema: Json): ReturnType<typeof ajv.compile> {
  const known = KNOWN.get(schema);
  if (known !== undefined) return known;
  const made = ajv.compile(closed(schema));
  KNOWN.set(schema, made);
  return made;
}

/** A member that the document does not name must not be in an answer, although clients are told to bear new ones. */
function closed(schema: Json): Json {
  if (typeof schema !== 'object' || schema === null) return schema;
  if (Array.isArray(schema)) return schema.map(closed);
  const inner = Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [key, key === '$ref' ? `${ID}${String(value)}` : closed(value)]),
  );
  return inner['properties'] !== undefined && !('additionalProperties' in inner)
    ? { ...inner, additionalProperties: false }
    : inner;
}
