// Staging first (R6): an environment marked production runs only rotations whose configuration has completed one before, elsewhere in the tenant
// or, after an override, here. It must never count a rotation whose new value failed its test.
import type { Lookup, WriteAccess } from '../cell/access.ts';
import type { CredentialRow, EnvironmentRow } from '../cell/credentials.ts';
import { canonicalJson } from '../crypto/canonical-json.ts';
import { sha256OfText } from '../crypto/primitives.ts';
import { type KeyConfig, keyConfigOf } from './rotation-state.ts';
import type { Located } from './targets.ts';
import type { TenantJob, TenantView } from './tenant-job.ts';

/** An environment without a mark is production by its name. */
export function isProduction({ name, production }: EnvironmentRow): boolean {
  return production === null ? name === 'production' : production === 1;
}

/**
 * What must be the same in staging: the connector, which parameters are set, whether another credential manages, and the steps that an operator
 * described. The values of parameters and hosts differ between accounts, and a period of a month cannot be tried by waiting.
 */
function configurationOf(row: Pick<CredentialRow, 'connector' | 'config'>): string {
  const config = keyConfigOf(row);
  const { parameters = {}, admin } = config;
  const facts = {
    connector: row.connector,
    parameters: Object.keys(parameters).sort(),
    hasAdmin: admin !== undefined,
    custom: customOf(config),
  };
  return Buffer.from(sha256OfText(JSON.stringify(facts))).toString('hex');
}

/** The described steps; undefined for a connector of the catalogue. */
function customOf({ http, webhook, program }: KeyConfig): string | undefined {
  if (http !== undefined) {
    const { strategy = null, calls = null, error_table = null } = http;
    return canonicalJson(withoutHosts({ strategy, calls, error_table }));
  }
  const { url: _, ...asked } = { url: undefined, ...(webhook ?? program) };
  return (webhook ?? program) === undefined ? undefined : canonicalJson(asked);
}

function withoutHosts(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutHosts);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [name, name === 'url' ? pathOf(member) : withoutHosts(member)]),
  );
}

const pathOf = (url: unknown) => (typeof url === 'string' ? url.replace(/^https?:\/\/[^/?#]*/, '') : withoutHosts(url));

/** Whether a rotation must not run here yet. */
export function lacksRehearsal(view: TenantView, lookup: Lookup, { environment, row }: Located): boolean {
  return isProduction(environment) && view.readers.findRehearsal(lookup, configurationOf(row)) === undefined;
}

/** Why a rotation is refused; undefined if it may run. */
export function rehearsalFault(view: TenantView, lookup: Lookup, located: Located): string | undefined {
  if (!lacksRehearsal(view, lookup, located)) return undefined;
  return (
    'this environment is production, and no rotation with this connector and these parameters has completed in another environment yet: ' +
    'rotate such a credential in staging first; an owner may override that with a reason (--skip-staging --reason)'
  );
}

/** Records that a rotation with this configuration has completed. */
export function noteRehearsal(job: TenantJob, access: WriteAccess, { row }: Located, runId: string): void {
  const at = job.platform.clock.now();
  job.readers.insertRehearsal(access, { configuration: configurationOf(row), credential_id: row.id, run_id: runId, at });
}
