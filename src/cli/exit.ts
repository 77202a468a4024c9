// Exit codes and how an error is said: one line what, one line what to do. It must never print a value.
import { KeyturnError } from '../base/errors.ts';
import { KeyturnProblem } from '../sdk/problem.ts';

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
    'people need a fresh second factor for this; programs fetch values as a workload (`keyturn workload create`)',
  ],
  approval_required: [
    EXIT.forbidden,
    'a second person must approve this; `keyturn credential delete` keeps a recovery window instead',
  ],
  forbidden: [EXIT.forbidden, 'your role does not allow it: ask an admin, or see `keyturn whoami`'],
  not_found: [EXIT.notFound, 'check the names, --tenant and --env; what you may not see answers like this, too'],
  gone: [EXIT.notFound, 'a deleted credential comes back with `keyturn credential restore` within its window'],
  version_conflict: [EXIT.conflict, 'somebody was faster: look at it again, then repeat'],
  precondition_failed: [EXIT.conflict, 'somebody was faster: look at it again, then repeat'],
  conflict: [EXIT.conflict, ''],
  needs_consent: [
    EXIT.unavailable,
    'connect the account again: `keyturn connect --name ... --env ...` makes a link for its owner',
  ],
  rate_limited: [EXIT.unavailable, 'wait a moment'],
  sealed: [EXIT.unavailable, 'the vault or tenant is sealed'],
  rolled_back: [
    EXIT.unavailable,
    'the database is older than its last checkpoint kept outside: do not use it before you know why',
  ],
  unreachable: [EXIT.unavailable, 'is the service running? start it with `npm start` or `keyturn serve`'],
  refused_address: [EXIT.usage, ''],
  invalid_request: [EXIT.usage, ''],
};

const UNTRUSTED = 'its certificate is not trusted here: with an authority of your own, name its PEM file in KEYTURN_CACERT';

export interface Said {
  readonly lines: readonly string[];
  readonly exitCode: number;
}

export function sayError(error: unknown): Said {
  if (error instanceof CliError) return { lines: withHint(`error: ${error.message}`, error.hint), exitCode: error.exitCode };
  if (error instanceof KeyturnProblem) {
    const [exitCode, usualHint] = CODES[error.code] ?? [error.status >= 500 ? EXIT.unavailable : EXIT.failed, ''];
    const hint = /\([A-Z_]*(CERT|SIGNATURE|ALTNAME)[A-Z_]*\)/.test(error.message) ? UNTRUSTED : usualHint;
    const where = error.pointer === undefined ? '' : ` at ${error.pointer}`;
    const request = error.requestId === undefined ? '' : `, request ${error.requestId}`;
    const line = `error: ${error.message}${since(error)}${where} (${error.code}${request})`;
    return { lines: withHint(line, reconnectHint(error) ?? hint), exitCode };
  }
  // Thrown by what `serve` loads: the operator is who reads this, so evidence may follow.
  if (error instanceof KeyturnError) {
    const evidence = error.evidence === undefined ? '' : ` (${error.evidence})`;
    return { lines: [`error: ${error.message}${evidence}`], exitCode: EXIT.failed };
  }
  return { lines: [`error: something inside keyturn failed (${nameOf(error)})`, ...whereIn(error)], exitCode: EXIT.failed };
}

/** SECURITY: a foreign message may quote what it choked on, a secret too; its code, and a path of the file system, do not. */
function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return 'no error object';
  const { code, syscall, path } = error as NodeJS.ErrnoException;
  const known = typeof code === 'string' && /^[A-Z0-9_]{1,60}$/.test(code) ? code : error.name;
  return typeof path === 'string' && ['open', 'stat', 'lstat', 'mkdir', 'rename', 'unlink'].includes(syscall ?? '')
    ? `${known}: ${syscall} ${path}`
    : known;
}

/** The lines of its stack that name places in the program. */
function whereIn(error: unknown): string[] {
  const lines = error instanceof Error ? (error.stack ?? '').split('\n') : [];
  return lines.filter((line) => /^ {4}at [^\n]*:\d+:\d+\)?$/.test(line)).slice(0, 4);
}

/** Of a dead grant: since when and why. Words of the vault, held to their alphabet before a terminal shows them (LK-11). */
function since({ extra }: KeyturnProblem): string {
  const { since, cause } = extra;
  if (typeof since !== 'string' || !/^[0-9TZ:.-]{10,30}$/.test(since)) return '';
  const why = typeof cause === 'string' && /^[a-z0-9_]{1,80}$/.test(cause) ? `, because of ${cause}` : '';
  return `; so since ${since.slice(0, 10)} ${since.slice(11, 16)} UTC${why}`;
}

/** The command that makes a link for the credential meant. */
function reconnectHint({ extra }: KeyturnProblem): string | undefined {
  const path = typeof extra['reconnect'] === 'string' ? extra['reconnect'] : '';
  const [, environment, name] = /\/environments\/([a-z0-9._-]+)\/credentials\/([A-Za-z0-9._%-]+)\/connections$/.exec(path) ?? [];
  return environment === undefined || name === undefined
    ? undefined
    : `connect the account again: \`keyturn connect --name ${name.replaceAll('%2F', '/')} --env ${environment}\` makes a link for its owner`;
}

function withHint(line: string, hint: string | undefined): string[] {
  return hint === undefined || hint === '' ? [line] : [line, `hint:  ${hint}`];
}
