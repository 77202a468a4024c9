// Where a credential's secrets go, told when it changes (D14): an operation and an event of its own, and an alert. Hosts only.
// It must never carry a secret given before to another destination: whoever calls it has new ones.
import type { Caller } from '../access/principals.ts';
import { raiseAlert } from '../alerts/raise-alert.ts';
import { KeyturnError } from '../base/errors.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { boundPart, changedSetting, hostsAsText, hostsOf } from './bound-settings.ts';
import { configOf } from './credential.ts';
import type { BoundSettings } from './credential-kinds.ts';
import { foundCredential, type Located } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';

type SettingsRow = Pick<CredentialRow, 'connector' | 'config'>;

/** What is sealed with the secrets of an OAuth grant that has these settings; undefined where it has no connector. */
export function boundSettings(job: TenantJob, { connector, config }: SettingsRow): BoundSettings | undefined {
  if (connector === null) return undefined;
  const bound = boundPart(configOf({ config }));
  const places = destinationsOf(job, { connector, config: bound });
  return { connector, config: bound, ...(places === undefined ? {} : { hosts: hostsOf(places) }) };
}

/** Undefined where nobody can tell: there is no engine here, or the connector is gone. */
function destinationsOf(job: TenantJob, { connector, config }: BoundSettings): readonly string[] | undefined {
  try {
    return job.refresher?.destinationsOf(connector, config);
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
 * Undefined where secrets go where they went before.
 * @param open parameters that are told anew at each consent, within the connector's own hosts
 */
export function redirection(
  job: TenantJob,
  before: BoundSettings,
  after: BoundSettings,
  open: ReadonlySet<string> = new Set(),
): Redirection | undefined {
  if (before.connector === after.connector && changedSetting(before.config, after.config, open) === undefined) return undefined;
  const [was, is] = [destinationsOf(job, before), destinationsOf(job, after)];
  if (was === undefined || is === undefined || was.join(' ') === is.join(' ')) return undefined;
  return { from_hosts: hostsAsText(hostsOf(was)), to_hosts: hostsAsText(hostsOf(is)) };
}

export interface Redirecting {
  readonly before: BoundSettings | undefined;
  readonly after: BoundSettings | undefined;
  /** False: a consent is still to come, and raises the alert. */
  readonly takesEffect: boolean;
}

/**
 * Asks whether the caller may send the secrets of this credential elsewhere than before, and records it. The last step of a use case: what
 * it refuses undoes the whole, and an event of something undone must not stay.
 * @throws forbidden
 */
export function redirect(job: TenantJob, caller: Caller, located: Located, { before, after, takesEffect }: Redirecting): void {
  const moved = before === undefined || after === undefined ? undefined : redirection(job, before, after);
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
