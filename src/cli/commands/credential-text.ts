// The text of credentials and runs on a terminal, and the parser of labels.
import type { WireCredential, WireCredentialValue, WireGrant, WireRun, WireSchedule } from '../../http/v1/wire.ts';
import { bytesOf } from '../../sdk/value-bytes.ts';
import { CliError, EXIT } from '../exit.ts';
import { facts, note, plain, yellow } from '../print.ts';
import { stepLine } from './run-text.ts';
import { scheduleFacts } from './schedule-text.ts';

export function describeCredential(credential: WireCredential, schedule?: WireSchedule): string {
  const { grant, reconnect } = credential;
  return facts([
    ['name', credential.name],
    ['id', credential.id],
    ['environment', credential.environment],
    ['kind', credential.kind + (credential.connector === null ? '' : ` (${credential.connector})`)],
    ['state', credential.state],
    [
      'health',
      credential.health.cause === null
        ? credential.health.state
        : `${credential.health.state}: ${credential.health.cause}, since ${credential.health.since}`,
    ],
    ['version', credential.version],
    ['previous', credential.previous_version],
    ['expires', credential.expires_at],
    ['next refresh', credential.refresh_due_at],
    ...(schedule === undefined ? [] : scheduleFacts(schedule)),
    ['pending version', credential.pending_version],
    [
      'labels',
      Object.entries(credential.labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(' '),
    ],
    ['description', credential.description],
    ['updated', credential.updated_at],
    ['destroyed after', credential.destroy_after_at],
    ...(grant === undefined ? [] : describeGrant(grant)),
    ...(reconnect === undefined
      ? []
      : ([['connect again', `keyturn connect --name ${credential.name} --env ${credential.environment}`]] as const)),
  ]);
}

/** Omits fields without a value. */
function describeGrant(grant: WireGrant): [string, string][] {
  const { scopes, guard, revocation } = grant;
  const account = Object.entries(grant.account).map(([name, value]) => `${name}=${value}`);
  const ends = grant.ends_certain === false ? `${grant.ends_at} or later` : grant.ends_at;
  const known: [string, string | null][] = [
    ['connected', grant.connected_at],
    ['imported', grant.imported_at === null ? null : `${grant.imported_at} from ${grant.imported_from}`],
    ['refreshed', grant.refreshed_at],
    ['ends', grant.ends_at === null ? null : `${ends} (${grant.ends_because})`],
    ['account', account.join(' ')],
    ['scopes wanted', scopes.wanted.join(' ')],
    ['scopes granted', scopes.granted === null ? null : scopes.granted.join(' ')],
    ['scopes missing', scopes.missing.join(' ')],
    ['scopes unused', scopes.extra.join(' ')],
    ['used elsewhere', guard === null ? null : `${guard.sign} at ${guard.at}: ${guard.explanation}`],
    ['revocation', revocation === null ? null : [revocation.state, revocation.cause].filter((part) => part !== null).join(': ')],
  ];
  return known.filter((pair): pair is [string, string] => pair[1] !== null && pair[1] !== '');
}

export function describeRun(run: WireRun): string {
  const steps = (run.steps ?? []).map(stepLine);
  const head = facts([
    ['run', run.id],
    ['kind', `${run.kind}, by ${run.trigger}`],
    ...(run.reason === null ? [] : ([['reason', run.reason]] as const)),
    ...(run.retry_of === null ? [] : ([['retry of', run.retry_of]] as const)),
    ['state', run.outcome === null ? run.state : `${run.state}: ${run.outcome}`],
    ['cause', run.cause],
    ['new version', run.new_version],
    ...lateFacts(run),
  ]);
  return [head, ...steps].join('\n');
}

function lateFacts({ late_readers: late, deadline_at: deadline }: WireRun): [string, string][] {
  if (late === undefined) return [];
  const more = late.count - late.names.length;
  const names = late.names.join(', ') + (more > 0 ? ` and ${more} more` : '');
  return [['late readers', names], ...(deadline === undefined ? [] : ([['waits until', deadline]] as [string, string][]))];
}

/** A field of a value for a program: text or bytes as stored, any other JSON as its text. @throws CliError if there is none */
export function fieldOf(value: Readonly<Record<string, unknown>>, field: string, flag: string): Uint8Array | string {
  const bytes = bytesOf(value, field);
  if (bytes !== undefined) return bytes;
  if (Object.hasOwn(value, field)) return JSON.stringify(value[field]);
  throw new CliError(
    `the value has no field with the name given by ${flag}`,
    EXIT.notFound,
    `it has ${Object.keys(value).join(', ')}`,
  );
}

/** Prints to standard error, so that standard output contains only the value. */
export function noteDoubt(read: Pick<WireCredentialValue, 'name' | 'environment' | 'expires_at' | 'expired' | 'health'>): void {
  const name = plain(read.name);
  if (read.expired) note(yellow(`the end date of ${name} has passed (${read.expires_at}): the provider may reject the value`));
  if (read.health === 'needs_consent') {
    const remedy = `connect the account again with \`keyturn connect --name ${name} --env ${plain(read.environment)}\``;
    note(
      yellow(`the grant of ${name} has ended at the provider, which may reject this access token before it expires: ${remedy}`),
    );
  }
}

export function pairs(values: readonly string[] | undefined): Record<string, string> | undefined {
  if (values === undefined) return undefined;
  return Object.fromEntries(
    values.map((value) => {
      const at = value.indexOf('=');
      if (at < 1) throw new CliError('the option --label must have the form name=value', EXIT.usage);
      return [value.slice(0, at), value.slice(at + 1)];
    }),
  );
}
