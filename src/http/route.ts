// A route as data: its input, its operation and its answers. The router, the OpenAPI document and the tests that cover every route share
// one list. It must never decide anything.
import type { z } from 'zod';
import type { Operation } from '../access/operations.ts';
import type { Caller } from '../access/principals.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** The types of path fields; each has one grammar (edge.ts) and one schema (openapi.ts). */
export type PathField =
  | 'name'
  | 'credential'
  | 'tenant'
  | 'workload'
  | 'user'
  | 'run'
  | 'token'
  | 'webhook'
  | 'connection'
  | 'feed';

export interface RouteRequest<B = unknown, Q = unknown> {
  readonly caller: Caller;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Q;
  readonly body: B;
  /** Unparsed header values. */
  readonly accept: string | undefined;
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
  readonly authorization: string | undefined;
  readonly idempotencyKey: string | undefined;
  /** Of a stream of events: the last one that the client has. */
  readonly lastEventId: string | undefined;
  /** Whether the token of a user is still valid; set for user tokens by the app. */
  readonly isStillUser?: () => boolean | Promise<boolean>;
  /** SHA-256 over method, path and body, for replay detection. */
  readonly requestHash: () => Uint8Array;
}

export interface Answer {
  readonly status: number;
  /** An object is sent as JSON; bytes and strings are sent unchanged. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent chunk by chunk instead of `body`. */
  readonly stream?: AsyncGenerator<Uint8Array>;
}

export interface RouteShape {
  readonly method: Method;
  /** OpenAPI form: `/v1/tenants/{tenant}/...`. */
  readonly path: string;
  readonly summary: string;
  readonly tag: string;
  /** The operation that the door authorizes. `self`: any authenticated caller; `public`: no authentication. */
  readonly operation: Operation | 'public' | 'self';
  readonly fields: Readonly<Record<string, PathField>>;
  readonly query?: z.ZodType;
  readonly body?: z.ZodType;
  /** Also accepts application/x-www-form-urlencoded (OAuth clients). */
  readonly form?: boolean;
  /** The query comes from another server: characters that are not plain text are replaced, not rejected. */
  readonly foreignText?: boolean;
  readonly success: {
    readonly status: number;
    readonly description: string;
    readonly schema?: z.ZodType;
    /** Other successful answers by status: 201 with the same body, 304 without a body. */
    readonly also?: Readonly<Record<number, string>>;
    /** Media types other than JSON; the caller's Accept header selects one. */
    readonly mediaTypes?: readonly string[];
  };
  /** The answer carries a secret. */
  readonly secret?: boolean;
  /** The answer has an ETag. `read`: If-None-Match is answered with 304; `write`: If-Match and If-None-Match are preconditions; `condition`: as `write`, but the answer has no ETag. */
  readonly etag?: 'read' | 'write' | 'condition';
  /** Example bodies by name, for the OpenAPI document; a test parses each. */
  readonly examples?: Readonly<Record<string, unknown>>;
  /** Supports Idempotency-Key. */
  readonly idempotent?: boolean;
}

export interface Route<C> extends RouteShape {
  // biome-ignore lint/suspicious/noExplicitAny: body and query types follow from the schemas beside the handler
  handle(context: C, request: RouteRequest<any, any>): Promise<Answer> | Answer;
}

/** Infers the types of the handler's body and query from the schemas. */
export function route<C, B extends z.ZodType = z.ZodUndefined, Q extends z.ZodType = z.ZodUndefined>(
  shape: Omit<RouteShape, 'body' | 'query'> & {
    body?: B;
    query?: Q;
    handle(context: C, request: RouteRequest<z.infer<B>, z.infer<Q>>): Promise<Answer> | Answer;
  },
): Route<C> {
  return shape as Route<C>;
}
