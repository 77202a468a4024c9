// A route as data: what it takes, what it asks of the door, what it answers. One list serves the router, the OpenAPI document and the
// tests that walk every route. No decisions here.
import type { z } from 'zod';
import type { Operation } from '../access/operations.ts';
import type { Caller } from '../access/principals.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** How a path field is written; each has one grammar (edge.ts) and one schema (openapi.ts). */
export type PathField = 'name' | 'credential' | 'tenant' | 'workload' | 'user' | 'run' | 'token' | 'webhook' | 'connection';

export interface RouteRequest<B = unknown, Q = unknown> {
  readonly caller: Caller;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Q;
  readonly body: B;
  /** Raw values of the few headers that decide something. */
  readonly accept: string | undefined;
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
  readonly authorization: string | undefined;
  readonly idempotencyKey: string | undefined;
  /** SHA-256 over method, path and body, for replay detection. */
  readonly requestHash: () => Uint8Array;
}

export interface Answer {
  readonly status: number;
  /** An object becomes JSON; bytes go out as they are. */
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
  /** The operation the door is asked for; `public` routes return nothing that needs asking. */
  readonly operation: Operation | 'public' | 'self';
  readonly fields: Readonly<Record<string, PathField>>;
  readonly query?: z.ZodType;
  readonly body?: z.ZodType;
  /** Also takes application/x-www-form-urlencoded (OAuth clients). */
  readonly form?: boolean;
  /** Its query is what another server wrote: text that is not plain is marked, not refused. */
  readonly foreignText?: boolean;
  readonly success: {
    readonly status: number;
    readonly description: string;
    readonly schema?: z.ZodType;
    /** Other good answers by status: 201 with the same body, 304 with none. */
    readonly also?: Readonly<Record<number, string>>;
    /** What it may be as, when it is not JSON; the caller's Accept chooses among several. */
    readonly mediaTypes?: readonly string[];
  };
  /** The answer carries a secret. */
  readonly secret?: boolean;
  /** The answer has an ETag. `read`: If-None-Match is answered with 304; `write`: If-Match and If-None-Match hold the write to what was seen; `condition`: as `write`, and the answer has none. */
  readonly etag?: 'read' | 'write' | 'condition';
  /** Bodies by name, for the document; a test parses each. */
  readonly examples?: Readonly<Record<string, unknown>>;
  /** Honours Idempotency-Key. */
  readonly idempotent?: boolean;
}

export interface Route<C> extends RouteShape {
  // biome-ignore lint/suspicious/noExplicitAny: body and query types follow from the schemas beside the handler
  handle(context: C, request: RouteRequest<any, any>): Promise<Answer> | Answer;
}

/** Types the handler's body and query from the schemas it stands beside. */
export function route<C, B extends z.ZodType = z.ZodUndefined, Q extends z.ZodType = z.ZodUndefined>(
  shape: Omit<RouteShape, 'body' | 'query'> & {
    body?: B;
    query?: Q;
    handle(context: C, request: RouteRequest<z.infer<B>, z.infer<Q>>): Promise<Answer> | Answer;
  },
): Route<C> {
  return shape as Route<C>;
}
