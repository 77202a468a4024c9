// The OpenAPI 3.1 document, generated from the same route list the router uses, so it cannot drift.
import { OpenAPIRegistry, OpenApiGeneratorV31 } from '@asteasolutions/zod-to-openapi';
import { z } from 'zod';
import { CREDENTIAL_NAME_MAX_CHARS, CREDENTIAL_NAME_PATTERN, NAME_PATTERN } from '../base/ids.ts';
import type { PathField, RouteShape } from './route.ts';

const problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.string().describe('Stable; one of the closed list in src/base/errors.ts'),
    detail: z.string(),
    request_id: z.string(),
    pointer: z.string().optional().describe('RFC 6901 into the body, ?name for a query field, :name for a path field'),
    errors: z.array(z.string()),
  })
  .describe('RFC 9457 problem');

const FIELD_SCHEMAS: Readonly<Record<PathField, z.ZodType>> = {
  name: z.string().regex(NAME_PATTERN),
  credential: z.string().regex(CREDENTIAL_NAME_PATTERN).max(CREDENTIAL_NAME_MAX_CHARS).describe('A slash is written %2F'),
  tenant: z.string().describe('Name or id'),
  workload: z.string().describe('Name or id'),
  user: z.string().describe('Name or id'),
  run: z.string().regex(/^run_[0-9a-z]{24}$/),
  connection: z.string().regex(/^con_[0-9a-z]{24}$/),
  token: z.string().regex(/^[0-9A-Za-z]{12}$/),
  webhook: z.string().regex(/^whk_[0-9a-z]{24}$/),
};

/** `/v1/tenants/{tenant}` and so on, as plain JSON. */
export function openApiDocument(routes: readonly RouteShape[], version: string): unknown {
  const registry = new OpenAPIRegistry();
  registry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer' });
  for (const shape of routes) register(registry, shape);
  return new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: {
      title: 'Keyturn',
      version,
      description: 'A secrets vault that turns its keys: stores, refreshes and rotates credentials, and proves every access.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
  });
}

function register(registry: OpenAPIRegistry, shape: RouteShape): void {
  const { success } = shape;
  const content =
    success.schema !== undefined
      ? { content: { 'application/json': { schema: success.schema } } }
      : success.mediaType === undefined
        ? {}
        : { content: { [success.mediaType]: { schema: z.string() } } };
  registry.registerPath({
    method: shape.method.toLowerCase() as 'get',
    path: shape.path,
    operationId: operationId(shape),
    summary: shape.summary,
    tags: [shape.tag],
    ...(shape.operation === 'public' || shape.operation === 'token.exchange' ? {} : { security: [{ bearer: [] }] }),
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
      ...(shape.idempotent === true ? { headers: z.object({ 'Idempotency-Key': z.string().max(128).optional() }) } : {}),
    },
    responses: {
      [success.status]: { description: success.description, ...content },
      default: { description: 'A problem', content: { 'application/problem+json': { schema: problem } } },
    },
  });
}

function bodyContent(shape: RouteShape) {
  const schema = shape.body as z.ZodType;
  return {
    'application/json': { schema },
    ...(shape.form === true ? { 'application/x-www-form-urlencoded': { schema } } : {}),
  };
}

function operationId(shape: RouteShape): string {
  const words = shape.path.split('/').filter((part) => part !== '' && part !== 'v1');
  const name = words.map((word) => word.replace(/[{}]/g, '')).map((word) => word.charAt(0).toUpperCase() + word.slice(1));
  return `${shape.method.toLowerCase()}${name.join('')}`;
}
