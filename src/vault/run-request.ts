// What a caller asked of a run: JSON in `run.facts`, beside what the run found. It must never contain a secret.
import type { RunRow } from '../cell/runs.ts';

export interface RunRequest {
  /** Why, in the caller's words. It is not in the log, which has no free text. */
  readonly reason?: string | undefined;
  /** Hash of the plan that the run was requested with. */
  readonly plan?: string | undefined;
  /** The failed or cancelled run that this one repeats. */
  readonly retryOf?: string | undefined;
  /** An owner lets it run in production although its configuration was not tried in staging. Needs a reason. */
  readonly skipsStaging?: boolean | undefined;
}

export function requestFacts({ reason, plan, retryOf, skipsStaging }: RunRequest): string {
  return JSON.stringify({ reason, plan, retryOf, skipsStaging: skipsStaging === true ? true : undefined });
}

export function requestOf({ facts }: Pick<RunRow, 'facts'>): RunRequest {
  const { reason, plan, retryOf, skipsStaging } = JSON.parse(facts) as RunRequest;
  return { reason, plan, retryOf, skipsStaging };
}
