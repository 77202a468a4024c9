// Records a change of the hosts that a credential's secrets are sent to (D14): an operation and an event of its own, and an alert, with hosts
// only. Existing secrets must never be sent to new hosts: the caller must have new secrets.
import type { Caller } from '../access/principals.ts';
import { raiseAlert } from '../alerts/raise-alert.ts';
import { KeyturnError } from '../base/errors.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { boundPart, changedSetting, hostsAsText, hostsOf } from './bound-settings.ts';
import { configOf } from './credential.ts';
import type { BoundSettings } from './credential-kinds.ts';
import type { KeyConfig } from './rotation-state.ts';
import { foundCredential, type Located } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';

type SettingsRow = Pick<CredentialRow, 'connector' | 'config'>;

/** The settings to seal with the secrets of an OAuth grant; undefined without a connector. */
export function boundSettings(job: TenantJob, { connector, config }: SettingsRow): BoundSettings | undefined {
  if (connector === null) return undefined;
  const bound = boundPart(configOf({ config }));
  const places = destinationsOf(job, 'oauth2', { connector, config: bound });
  return { connector, config: bound, ...(places === undefined ? {} : { hosts: hostsOf(places) }) };
}

/** Undefined if unknown: no engine is attached, the connector no longer exists, or it does not take these settings. */
function destinationsOf(job: TenantJob, kind: string, { connector, config }: BoundSettings): readonly string[] | undefined {
  // Each engine knows the connectors of its kinds only.
  const ofKey = known(() => job.rotator?.destinationsOf(kind, connector, config as KeyConfig));
  return ofKey ?? known(() => job.refresher?.destinationsOf(connector, config));
}

function known(find: () => readonly string[] | undefined): readonly string[] | undefined {
  try {
    return find();
  } catch (error) {
    if (error instanceof KeyturnError) return undefined;
    throw error;
  }
}

export interface Redirection {
  readonly from_hosts: string;
  readonly to_hosts: string;
}

/**
 * Undefined if the destinations do not change. Other settings whose destinations are unknown count as a change.
 * @param open parameters that are set anew at each consent, within the connector's own hosts
 */
export function redirection(
  job: TenantJob,
  kind: string,
  before: BoundSettings,
  after: BoundSettings,
  open: ReadonlySet<string> = new Set(),
): Redirection | undefined {
  if (before.connector === after.connector && changedSetting(before.config, after.config, open) === undefined) return undefined;
  const [was, is] = [destinationsOf(job, kind, before), destinationsOf(job, kind, after)];
  if (was !== undefined && is !== undefined && was.join(' ') === is.join(' ')) return undefined;
  return { from_hosts: asText(was), to_hosts: asText(is) };
}

function asText(places: readonly string[] | undefined): string {
  return places === undefined ? 'unknown' : hostsAsText(hostsOf(places));
}

export interface Redirecting {
  readonly before: BoundSettings | undefined;
  readonly after: BoundSettings | undefined;
  /** False: the change takes effect with a later consent, which raises the alert. */
  readonly takesEffect: boolean;
}

/**
 * Checks that the caller may change the hosts of this credential's secrets, and records the change. Must be the last step of a use case: a
 * refusal undoes the whole use case, and no event of an undone change may be kept.
 * @throws forbidden
 */
export function redirect(job: TenantJob, caller: Caller, located: Located, { before, after, takesEffect }: Redirecting): void {
  const moved = before === undefined || after === undefined ? undefined : redirection(job, located.row.kind, before, after);
  if (moved === undefined) return;
  const { environment, row } = located;
  job.door.enter(
    caller,
    'credential.redirect',
    () => foundCredential(job, environment, row),
    (access, _subject, details) => {
      Object.assign(details, moved);
      if (takesEffect) tellRedirected(job, access, located, moved);
    },
  );
}

export function tellRedirected(job: TenantJob, access: WriteAccess, { environment, row }: Located, moved: Redirection): void {
  raiseAlert(job, access, { credential: row, environment, kind: 'credential.destination_changed', details: { ...moved } });
}
