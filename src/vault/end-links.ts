// A put ends the links that were made for what it replaces: those with settings or a client secret of their own, and a consent whose account
// is still to be chosen. It must never end a link that asks for the credential as it is: that one goes on with what the put brought.
import type { Connection } from '../cell/connections.ts';
import type { CredentialChange } from './credential.ts';

/** What a link brings of its own; rotation/grants/consent/request.ts declares all of it. */
interface OwnSettings {
  readonly config?: object;
  readonly secretVersion?: number;
}

/** The caller saves the draft: a client secret that waited in a link is no longer what comes next. */
export function endSupersededLinks({ job, access, draft }: CredentialChange): void {
  const now = job.platform.clock.now();
  for (const link of job.connections.unfinished(access, draft.id, now)) {
    const { config, secretVersion } = JSON.parse(link.request) as OwnSettings;
    if (link.state !== 'choosing' && config === undefined && secretVersion === undefined) continue;
    const ended: Connection = { ...link, state: 'cancelled', cause: 'superseded', state_hash: null, finished_at: now };
    job.connections.save(access, ended);
    if (draft.pending_version === secretVersion) draft.pending_version = null;
  }
}
