// Exit codes and the text of an error: one line for the error, one for the remedy. It must never print a value.
import type { Command } from 'commander';
import { KeyturnError } from '../base/errors.ts';
import { KeyturnProblem } from '../sdk/problem.ts';
import { optionOf, withOption, withOptionsNamed } from './option-names.ts';

/** Stable; documented by `keyturn help`. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unauthenticated: 3,
  forbidden: 4,
  notFound: 5,
  conflict: 6,
  unavailable: 7,
  verification: 8,
  notYet: 9,
} as const;

export class CliError extends Error {
  readonly exitCode: number;
  readonly hint: string | undefined;

  constructor(message: string, exitCode: number = EXIT.failed, hint?: string) {
    super(message);
    this.exitCode = exitCode;
    this.hint = hint;
  }
}

const CODES: Readonly<Record<string, readonly [number, string]>> = {
  unauthenticated: [
    EXIT.unauthenticated,
    'log in with `keyturn login`, or check KEYTURN_TOKEN / KEYTURN_CLIENT_ID and KEYTURN_CLIENT_SECRET',
  ],
  insufficient_user_authentication: [
    EXIT.forbidden,
    'users need a fresh second factor for this, which is not available yet; use a workload (`keyturn workload create`)',
  ],
  approval_required: [
    EXIT.forbidden,
    'approvals are not available yet; `keyturn credential delete` deletes with a recovery window instead',
  ],
  forbidden: [EXIT.forbidden, 'your role does not allow this: see `keyturn whoami`, or ask an admin'],
  not_found: [EXIT.notFound, 'check the name, --tenant and --env; the answer is the same if you may not see it'],
  gone: [EXIT.notFound, 'restore a deleted credential with `keyturn credential restore` before its recovery window ends'],
  version_conflict: [EXIT.conflict, 'it was changed in the meantime: check the current version, then repeat'],
  precondition_failed: [EXIT.conflict, 'it was changed in the meantime: check the current version, then repeat'],
  conflict: [EXIT.conflict, ''],
  needs_consent: [
    EXIT.unavailable,
    'connect the account again: `keyturn connect --name ... --env ...` creates a link for its owner',
  ],
  integrity: [
    EXIT.unavailable,
    'stop the service and run `keyturn doctor --deep` on its data; `keyturn alerts` lists the damage that is known',
  ],
  rate_limited: [EXIT.unavailable, 'wait a few seconds, then repeat'],
  sealed: [EXIT.unavailable, 'the service has no root key yet, or the tenant is contained'],
  rolled_back: [
    EXIT.unavailable,
    'the database is older than its last witnessed checkpoint: find the cause before you use it (SECURITY.md)',
  ],
  unreachable: [EXIT.unavailable, 'check --address, and start the service with `npm start` or `keyturn serve`'],
  refused_address: [EXIT.usage, ''],
  invalid_request: [EXIT.usage, ''],
};

const UNTRUSTED =
  'the certificate of the service is not trusted: set KEYTURN_CACERT to the PEM file of your certificate authority';

export interface Said {
  readonly lines: readonly string[];
  readonly exitCode: number;
}

/** @param running the command that failed, whose options the message names */
export function sayError(error: unknown, running?: Command): Said {
  if (error instanceof CliError) return { lines: withHint(`error: ${error.message}`, error.hint), exitCode: error.exitCode };
  if (error instanceof KeyturnProblem) return sayProblem(error, running);
  // Thrown by the service that `serve` runs: the reader is the operator, so the evidence may be shown.
  if (error instanceof KeyturnError) {
    const evidence = error.evidence === undefined ? '' : ` (${error.evidence})`;
    return { lines: [`error: ${error.message}${evidence}`], exitCode: EXIT.failed };
  }
  return { lines: [`error: an internal error occurred (${nameOf(error)})`, ...whereIn(error)], exitCode: EXIT.failed };
}

function sayProblem(error: KeyturnProblem, running: Command | undefined): Said {
  const [exitCode, usualHint] = CODES[error.code] ?? [error.status >= 500 ? EXIT.unavailable : EXIT.failed, ''];
  const message = withOption(error.message, running, error.pointer);
  const where = message !== undefined || error.pointer === undefined ? '' : ` at ${error.pointer}`;
  const request = error.requestId === undefined ? '' : `, request ${error.requestId}`;
  const line = `error: ${withOptionsNamed(message ?? error.message)}${since(error)}${where} (${error.code}${request})`;
  return { lines: withHint(line, reconnectHint(error) ?? hintFor(error, running) ?? usualHint), exitCode };
}

/** The hint for this error, if the one for its code says too little. */
function hintFor(error: KeyturnProblem, running: Command | undefined): string | undefined {
  if (/\([A-Z_]*(CERT|SIGNATURE|ALTNAME)[A-Z_]*\)/.test(error.message)) return UNTRUSTED;
  if (error.code === 'unauthenticated' && running?.name() === 'login')
    return 'ask an admin for a new enrolment token: each is accepted once, and only until it expires';
  if (error.code === 'forbidden' && error.message.startsWith('only the person themselves'))
    return 'offboard a person who lost all tokens and create them again (SECURITY.md)';
  const option = running === undefined || error.pointer === undefined ? undefined : optionOf(running, error.pointer)?.option;
  return option === undefined ? undefined : `${option.flags}: ${option.description}`;
}

/** SECURITY: the message of a library may quote its input, which may be a secret; an error code and a file path do not. */
function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return 'no error object';
  const { code, syscall, path } = error as NodeJS.ErrnoException;
  const known = typeof code === 'string' && /^[A-Z0-9_]{1,60}$/.test(code) ? code : error.name;
  return typeof path === 'string' && ['open', 'stat', 'lstat', 'mkdir', 'rename', 'unlink'].includes(syscall ?? '')
    ? `${known}: ${syscall} ${path}`
    : known;
}

/** The stack frames, without the message. */
function whereIn(error: unknown): string[] {
  const lines = error instanceof Error ? (error.stack ?? '').split('\n') : [];
  return lines.filter((line) => /^ {4}at [^\n]*:\d+:\d+\)?$/.test(line)).slice(0, 4);
}

/** Since when and why a grant is dead. Only text of the expected form is shown on the terminal (LK-11). */
function since({ extra }: KeyturnProblem): string {
  const { since, cause } = extra;
  if (typeof since !== 'string' || !/^[0-9TZ:.-]{10,30}$/.test(since)) return '';
  const why = typeof cause === 'string' && /^[a-z0-9_]{1,80}$/.test(cause) ? `, because of ${cause}` : '';
  return `; since ${since.slice(0, 10)} ${since.slice(11, 16)} UTC${why}`;
}

/** The command that creates a link for the credential of the error. */
function reconnectHint({ extra }: KeyturnProblem): string | undefined {
  const path = typeof extra['reconnect'] === 'string' ? extra['reconnect'] : '';
  const [, environment, name] = /\/environments\/([a-z0-9._-]+)\/credentials\/([A-Za-z0-9._%-]+)\/connections$/.exec(path) ?? [];
  return environment === undefined || name === undefined
    ? undefined
    : `connect the account again: \`keyturn connect --name ${name.replaceAll('%2F', '/')} --env ${environment}\` creates a link for its owner`;
}

function withHint(line: string, hint: string | undefined): string[] {
  return hint === undefined || hint === '' ? [line] : [line, `hint:  ${hint}`];
}
