// The OpenAPI 3.1 document, generated from the route list of the router: what each route takes, and every status and header it can answer
// with (test/conformance validates real answers against it).
import { OpenAPIRegistry, OpenApiGeneratorV31 } from '@asteasolutions/zod-to-openapi';
import { z } from 'zod';
import { ERROR_CODES } from '../base/errors.ts';
import { CREDENTIAL_NAME_PATTERN, NAME_PATTERN } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { PathField, RouteShape } from './route.ts';

const problem = z
  .looseObject({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.enum(ERROR_CODES).describe('Stable: programs should branch on this field'),
    detail: z.string(),
    request_id: z.string(),
    pointer: z.string().optional().describe('RFC 6901 into the body, ?name for a query field, :name for a path field'),
    errors: z.array(z.string()),
  })
  .describe('RFC 9457 problem');

const FIELD_SCHEMAS: Readonly<Record<PathField, z.ZodType>> = {
  name: z.string().regex(NAME_PATTERN),
  credential: z
    .string()
    .regex(CREDENTIAL_NAME_PATTERN)
    .max(LIMITS.credentialNameMaxChars)
    .describe('Case is preserved; write a slash in the name as %2F'),
  tenant: z.string().regex(NAME_PATTERN).describe('Name or id'),
  workload: z.string().regex(NAME_PATTERN).describe('Name or id'),
  user: z.string().regex(NAME_PATTERN).describe('Name or id'),
  run: z.string().regex(/^run_[0-9a-z]{24}$/),
  connection: z.string().regex(/^con_[0-9a-z]{24}$/),
  token: z.string().regex(/^[0-9A-Za-z]{12}$/),
  webhook: z.string().regex(/^whk_[0-9a-z]{24}$/),
  feed: z.string().regex(/^cal_[0-9a-z]{24}$/),
};

const TAGS: Readonly<Record<string, string>> = {
  installation: 'The installation: set-up, health, metrics',
  tenants: 'Clients of the operator, each with its own database and keys',
  users: 'People of the team',
  environments: 'Environments of a tenant',
  credentials: 'Credentials, their values and versions',
  rotation: 'Refreshes and rotations as resources',
  schedules: 'Schedules of rotations, what is due, and calendar feeds of it',
  connections: 'Links by which a person connects an account',
  connectors: 'The supported providers and kinds of credential',
  workloads: 'Programs that fetch credentials, their secrets and tokens',
  alerts: 'Alerts, the forecast of end dates, and webhooks',
  audit: 'The audit log and its proofs',
  keys: "A tenant's keys and their rotation",
};

type Json = Record<string, unknown>;

/** `/v1/tenants/{tenant}` and so on, as plain JSON. `serverUrl`: absent, where the document was fetched. */
export function openApiDocument(routes: readonly RouteShape[], version: string, serverUrl = '/'): unknown {
  const registry = new OpenAPIRegistry();
  for (const shape of routes) register(registry, shape);
  const document = new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: {
      title: 'Keyturn',
      version,
      description: 'A secrets vault that turns its keys: stores, refreshes and rotates credentials, and proves every access.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: serverUrl }],
    tags: [...new Set(routes.map((shape) => shape.tag))].map((name) => ({ name, description: TAGS[name] ?? name })),
  });
  const made = document as unknown as Json;
  const schemas = document.components?.schemas as Json | undefined;
  made['components'] = componentsWith({ ...schemas, Problem: problemSchema() });
  return made;
}

/** The schema of a problem as the generator writes it. */
function problemSchema(): unknown {
  const registry = new OpenAPIRegistry();
  registry.registerPath({
    method: 'get',
    path: '/problem',
    responses: { 200: { description: '', content: { 'application/problem+json': { schema: problem } } } },
  });
  const made = new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: { title: '', version: '' },
  });
  const answers = made.paths?.['/problem']?.get?.responses as Record<string, { content: Record<string, { schema: unknown }> }>;
  return answers['200']?.content['application/problem+json']?.schema;
}

const DESCRIPTIONS: Readonly<Record<number, string>> = {
  400: 'The request is not valid; `pointer` names the field',
  401: 'No valid token, or a fresh second factor is needed',
  403: 'Not allowed, or a second person must approve',
  404: 'It does not exist, or the caller may not know that it exists',
  409: 'The request conflicts with the current state or the current version',
  410: 'Deleted, or its key was destroyed',
  412: 'A precondition (If-Match, If-None-Match) failed',
  413: 'The body or the value is too large',
  415: 'The content type of the body is not supported',
  422: 'The idempotency key was used for another request, or this credential cannot be rotated',
  423: 'Sealed',
  424: 'The grant is dead: the account must be connected again',
  429: 'Too many requests',
  500: 'An internal error; the service log names it by the request id',
  502: 'The provider rejects the OAuth client or its settings',
  503: 'Temporarily unavailable',
  507: 'The storage is full',
};

const REQUEST_ID = { 'X-Request-Id': { $ref: '#/components/headers/RequestId' } };
const ETAG = { ETag: { $ref: '#/components/headers/ETag' } };
/** The schema of header values that the audit log stores verbatim. */
const LOGGED_TEXT = { type: 'string', pattern: '^[A-Za-z0-9._:@/-]{1,128}$' };

const header = (name: string, description: string, schema: unknown) => ({
  name,
  in: 'header',
  required: false,
  description,
  schema,
});

function problemResponses(): Json {
  const responses = Object.entries(DESCRIPTIONS).map(([status, description]) => [
    `Problem${status}`,
    {
      description,
      headers: {
        ...REQUEST_ID,
        ...(status === '429' || status === '503' ? { 'Retry-After': { $ref: '#/components/headers/RetryAfter' } } : {}),
        ...(status === '401' ? { 'WWW-Authenticate': { $ref: '#/components/headers/WwwAuthenticate' } } : {}),
      },
      content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
    },
  ]);
  return Object.fromEntries(responses) as Json;
}

function componentsWith(schemas: Json): Json {
  return {
    schemas,
    responses: problemResponses(),
    headers: {
      RequestId: { description: 'The id of the request in the audit log', schema: { type: 'string' } },
      ETag: {
        description: 'The revision of the credential, for If-Match; for a value, its id and version',
        schema: { type: 'string' },
      },
      RetryAfter: { description: 'Seconds to wait before a retry', schema: { type: 'string', pattern: '^[0-9]+$' } },
      WwwAuthenticate: { description: 'RFC 6750, RFC 9470', schema: { type: 'string' } },
    },
    parameters: {
      IdempotencyKey: header('Idempotency-Key', 'A repeated POST with the same key within a day gets the first answer again', {
        type: 'string',
        pattern: '^[\\x21-\\x7e]{1,128}$',
      }),
      IfMatch: header('If-Match', 'Write only if the credential still has this ETag', {
        type: 'string',
        pattern: '^"r[0-9]{1,15}"$',
        examples: ['"r3"'],
      }),
      IfNoneMatchAny: header('If-None-Match', 'Write only if no credential has this name yet', { type: 'string', enum: ['*'] }),
      IfNoneMatch: header('If-None-Match', 'A known ETag: the answer is 304 if it is still current', { type: 'string' }),
      ClientRequestId: header('X-Request-Id', "The caller's own id for the request; recorded in the audit log", LOGGED_TEXT),
      Workflow: header('X-Keyturn-Workflow', 'The name of the calling automation; recorded in the audit log', LOGGED_TEXT),
      WorkflowRun: header('X-Keyturn-Run', 'The run of the calling automation; recorded in the audit log', LOGGED_TEXT),
    },
    securitySchemes: {
      bearer: { type: 'http', scheme: 'bearer', description: "A user's or a workload's token" },
      client: {
        type: 'http',
        scheme: 'basic',
        description: 'Client id and secret of a workload, each percent-encoded (RFC 6749 section 2.3.1)',
      },
    },
  };
}

const isTokenExchange = (shape: RouteShape) => shape.operation === 'token.exchange';
const isConditional = (shape: RouteShape) => shape.etag === 'write' || shape.etag === 'condition';
const isWrite = (shape: RouteShape) => shape.method !== 'GET';

const inTenant = (shape: RouteShape) => shape.path.startsWith('/v1/tenants/{tenant}');
const ofCredential = (shape: RouteShape) => Object.values(shape.fields).includes('credential');
const hasBody = (shape: RouteShape) => shape.body !== undefined;
const asksProvider = (shape: RouteShape) => ofCredential(shape) && /\/(value|runs|connections|disconnections)/.test(shape.path);
const always = () => true;

/** The error statuses and the routes that can answer with them; each is a problem. */
const REFUSALS: readonly (readonly [number, (shape: RouteShape) => boolean])[] = [
  [401, always],
  [403, always],
  [404, (shape) => inTenant(shape) || isWrite(shape)],
  [409, (shape) => isWrite(shape) || shape.path.endsWith('/receipt')],
  [410, inTenant],
  [412, isConditional],
  [413, hasBody],
  [415, hasBody],
  [422, (shape) => shape.idempotent === true || /\{credential\}\/schedule/.test(shape.path)],
  [423, always],
  [424, (shape) => asksProvider(shape) || (ofCredential(shape) && isWrite(shape))],
  [429, always],
  [500, always],
  [502, asksProvider],
  [503, always],
  [507, always],
];

function problemStatuses(shape: RouteShape): number[] {
  // The key of a calendar feed, in the query, takes the place of a token.
  const isOpen = shape.operation === 'public' && !inTenant(shape);
  const refusals = isOpen ? [] : REFUSALS.filter(([, applies]) => applies(shape));
  return [400, ...refusals.map(([status]) => status)];
}

function register(registry: OpenAPIRegistry, shape: RouteShape): void {
  const { success } = shape;
  const content =
    success.schema !== undefined
      ? { content: { 'application/json': { schema: success.schema } } }
      : success.mediaTypes === undefined
        ? {}
        : { content: Object.fromEntries(success.mediaTypes.map((type) => [type, { schema: z.string() }])) };
  const headers = { ...REQUEST_ID, ...(shape.etag === 'read' || shape.etag === 'write' ? ETAG : {}) };
  const problems = problemStatuses(shape).map((status) => [status, { $ref: `#/components/responses/Problem${status}` }]);
  const others = Object.entries(success.also ?? {}).map(([status, description]) => [
    status,
    status === '304' ? { description, headers } : { description, headers, ...content },
  ]);
  const path = {
    method: shape.method.toLowerCase() as 'get',
    path: shape.path,
    operationId: operationId(shape),
    summary: shape.summary,
    tags: [shape.tag],
    security: securityOf(shape),
    request: {
      ...(Object.keys(shape.fields).length === 0
        ? {}
        : {
            params: z.object(
              Object.fromEntries(Object.entries(shape.fields).map(([field, kind]) => [field, FIELD_SCHEMAS[kind]])),
            ),
          }),
      ...(shape.query === undefined ? {} : { query: shape.query as z.ZodObject }),
      ...(shape.body === undefined ? {} : { body: { required: true, content: bodyContent(shape) } }),
    },
    parameters: headersOf(shape).map((name) => ({ $ref: `#/components/parameters/${name}` })),
    responses: {
      [success.status]: { description: success.description, headers, ...content },
      ...(Object.fromEntries(others) as object),
      ...(Object.fromEntries(problems) as object),
      default: {
        description: 'A problem',
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    },
  };
  registry.registerPath(path as Parameters<OpenAPIRegistry['registerPath']>[0]);
}

/** Authentication: none, the client credentials of a workload (in the header or the body), or a bearer token. */
function securityOf(shape: RouteShape): Record<string, string[]>[] {
  if (shape.operation === 'public') return [];
  return isTokenExchange(shape) ? [{ client: [] }, {}] : [{ bearer: [] }];
}

function headersOf(shape: RouteShape): string[] {
  if (shape.operation === 'public') return [];
  const conditions = shape.etag === 'read' ? ['IfNoneMatch'] : isConditional(shape) ? ['IfMatch', 'IfNoneMatchAny'] : [];
  return [...conditions, ...(shape.idempotent === true ? ['IdempotencyKey'] : []), 'ClientRequestId', 'Workflow', 'WorkflowRun'];
}

function bodyContent(shape: RouteShape) {
  const schema = shape.body as z.ZodType;
  const named = Object.entries(shape.examples ?? {}).map(([name, value]) => [name, { value }]);
  const examples = named.length === 0 ? {} : { examples: Object.fromEntries(named) as Json };
  return {
    'application/json': { schema, ...examples },
    ...(shape.form === true ? { 'application/x-www-form-urlencoded': { schema, ...examples } } : {}),
  };
}

/** First path segments that exist both under a tenant and at the installation. */
const ALSO_AT_HOME = new Set(['audit', 'whoami', 'token']);

/** The method and the path's segments, singular before an id: `putCredential`, `getCredentialVersions`, `getTenantAuditEvents`. */
function operationId({ method, path }: RouteShape): string {
  const inTenant = path.replace(/^\/v1\/tenants\/\{tenant\}\/(?:environments\/\{environment\}\/)?/, '');
  const segments = inTenant.replace(/^\/(?:v1\/)?/, '').split('/');
  const isShared = inTenant !== path && ALSO_AT_HOME.has(segments[0] ?? '');
  const words = segments.flatMap((segment, i) => {
    if (segment.startsWith('{')) return [];
    const singular = segments[i + 1]?.startsWith('{') === true ? segment.replace(/s$/, '') : segment;
    return singular.split(/[^A-Za-z]+/).map((word) => word.charAt(0).toUpperCase() + word.slice(1));
  });
  return `${method.toLowerCase()}${isShared ? 'Tenant' : ''}${words.join('')}`;
}
