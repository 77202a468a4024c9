// One line of the audit log: its fields and its exact bytes. It must never contain a value, a token, a header or free text of a
// caller: every field below is an id, a grammar-checked name, a code or a number (allow-list, LK-16).
import { toTimestamp } from '../base/clock.ts';

export type EventOutcome = 'success' | 'failure' | 'denied';

export interface EventActor {
  readonly type: 'user' | 'workload' | 'system' | 'anonymous';
  readonly id: string;
  /** Public id of the presented token or client secret. */
  readonly token?: string;
}

export interface EventTarget {
  readonly type: string;
  readonly id?: string;
  readonly environment?: string;
  readonly name?: string;
  /** Hexadecimal SHA-256 of the name, in place of it when the object does not exist: the caller may have sent a secret as the name. */
  readonly name_sha256?: string;
}

/** The only further facts that an event may contain. */
export interface EventDetails {
  /** Id of the admin credential that was used. */
  admin?: string;
  alert?: string;
  attempts?: number;
  cause?: string;
  connection?: string;
  connector?: string;
  count?: number;
  ends_at?: string;
  feed?: string;
  expires_at?: string;
  from_hosts?: string;
  from_version?: number;
  health?: string;
  key_version?: number;
  kind?: string;
  permission?: string;
  purpose?: string;
  role?: string;
  /** By how much a clock jumped. */
  seconds?: number;
  run?: string;
  /** The account of the grant changed: the connector's name of the field that identifies the account. */
  account_changed?: string;
  scopes_extra?: number;
  scopes_missing?: number;
  sign?: string;
  stage?: string;
  to_hosts?: string;
  step?: string;
  tenant?: string;
  token?: string;
  trigger?: string;
  version?: number;
  webhook?: string;
}

export interface EventInput {
  readonly action: string;
  readonly actor: EventActor;
  readonly outcome: EventOutcome;
  /** A policy id or an error code. */
  readonly reason: string;
  /** The server's own request id; unique. */
  readonly request: string;
  /** The client's own request id, in a separate field (AU-13). */
  readonly clientRequest?: string | undefined;
  /** Id of the sealed source row (address, user agent). */
  readonly source?: string | undefined;
  readonly target: EventTarget;
  readonly details?: EventDetails | undefined;
  /** The workflow, as the client named it. */
  readonly workflow?: string | undefined;
  readonly workflowRun?: string | undefined;
}

export interface AuditEvent {
  readonly action: string;
  readonly actor: EventActor;
  readonly at: string;
  readonly client_request?: string;
  readonly context?: { readonly run?: string; readonly workflow?: string };
  readonly details?: EventDetails;
  readonly index: number;
  readonly outcome: EventOutcome;
  readonly reason: string;
  readonly request: string;
  readonly source?: string;
  readonly target: EventTarget;
  readonly v: 1;
}

let lastAtMs = Number.NaN;
let lastAt = '';

function timestamp(atMs: number): string {
  if (atMs !== lastAtMs) {
    lastAtMs = atMs;
    lastAt = toTimestamp(atMs);
  }
  return lastAt;
}

/**
 * The canonical text of an event, UTF-8 when stored: RFC 8785, one line, no newline inside.
 * INVARIANT: members are written in code-unit order, so the text equals canonicalJson() of its parse (test/audit/event.shared.test.ts).
 */
export function eventText(input: EventInput, index: number, atMs: number): string {
  const { actor, target } = input;
  const context =
    input.workflow === undefined && input.workflowRun === undefined
      ? undefined
      : { run: input.workflowRun, workflow: input.workflow };
  return JSON.stringify({
    action: input.action,
    actor: { id: actor.id, token: actor.token, type: actor.type },
    at: timestamp(atMs),
    client_request: input.clientRequest,
    context,
    details: input.details === undefined ? undefined : sorted(input.details),
    index,
    outcome: input.outcome,
    reason: input.reason,
    request: input.request,
    source: input.source,
    target: {
      environment: target.environment,
      id: target.id,
      name: target.name,
      name_sha256: target.name_sha256,
      type: target.type,
    },
    v: 1,
  });
}

function sorted(details: EventDetails): EventDetails {
  const keys = Object.keys(details) as (keyof EventDetails)[];
  if (keys.length < 2) return details;
  const out: Record<string, unknown> = {};
  for (const key of keys.sort()) out[key] = details[key];
  return out as EventDetails;
}
