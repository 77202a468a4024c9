// What must be true of every credential once all is quiet again, and of the whole log in the end.

import type { Caller } from '../../src/access/principals.ts';
import { ExportVerifier } from '../../src/audit/verify-export.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { exportAudit } from '../../src/vault/read-audit.ts';
import { readFreshCredential } from '../../src/vault/read-credential.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import type { Family, SimulatedProvider } from '../kit/simulated-provider.ts';
import { inside } from '../kit/vaults.ts';
import { isOfEarlierLife, type Ledger } from './simulated-ledger.ts';

export interface Held {
  readonly name: string;
  family: Family;
  /** Two calls crossed each other: the provider may have ended the grant after its last answer was stored. */
  inDoubt: boolean;
}

interface Row {
  id: string;
  name: string;
  health: string;
  health_cause: string | null;
  current_version: number;
  /** The number of the family, as whoever connected it noted. */
  description: string;
}

/** `given_up`: two answers were missed, and neither send had spent the token. */
export type Verdict = 'well' | 'given_up' | 'lost';

export function rowOf(sql: Sql, name: string): Row {
  const row = sql.get<Row>(
    'SELECT id, name, health, health_cause, current_version, description FROM credential WHERE name = ?',
    name,
  );
  if (row === undefined) throw new Error(`the credential ${name} is gone`);
  return row;
}

/** Whether the grant is well or was lost, and if lost, whether it had to be. */
export function judge(sql: Sql, held: Held, ledger: Ledger, broken: (what: string) => void): Verdict {
  const { family, name } = held;
  const row = rowOf(sql, name);
  const how = `${name} (${family.kind}, version ${row.current_version}, ${row.health} ${row.health_cause ?? ''})`;
  const { kind } = family;
  const mayDie = kind === 'unsafe' || (kind === 'narrow' && ledger.isBeyondMending(sql, name, family));
  if (!family.alive && !mayDie) broken(`${how}: a grant that could be kept was killed: ${family.death}`);
  if (!family.alive && !ledger.hasLost(family))
    broken(`${how}: the grant was killed although no answer was lost: ${family.death}`);
  if (row.health === 'needs_consent') {
    if (!mayDie) broken(`${how}: given up although its token could be sent again`);
    if (!ledger.mayHaveLost(sql, name, family)) broken(`${how}: given up although no answer was lost`);
    if (!family.alive || ledger.isSpent(sql, name, family)) return 'lost';
    if (row.health_cause !== 'answer_lost') broken(`${how}: called dead although its token is good`);
    return 'given_up';
  }
  if (!family.alive && !held.inDoubt) broken(`${how}: broken and nobody was told: ${family.death}`);
  return 'well';
}

/** What a workflow gets must work at the provider. */
export async function readAndUse(
  vault: TenantVault,
  caller: Caller,
  held: Held,
  provider: SimulatedProvider,
  isQuiet: boolean,
  broken: (what: string) => void,
): Promise<void> {
  try {
    const read = { environment: 'staging', name: held.name, version: undefined, stage: undefined };
    const { body } = await readFreshCredential(vault, caller, read);
    const { version, value } = JSON.parse(new TextDecoder().decode(body)) as {
      version: number;
      value: { access_token: string };
    };
    if (provider.familyOf(value.access_token)?.id !== held.family.id && isQuiet)
      broken(`${held.name}: version ${version} is of a grant that was replaced`);
    if (!provider.honours(value.access_token) && !held.inDoubt && held.family.alive)
      broken(`${held.name} (${held.family.kind}): version ${version} was served and the provider does not honour it`);
  } catch (error) {
    if (!(error instanceof KeyturnError)) throw error;
    if (error.code === 'integrity' || error.code === 'internal') broken(`${held.name}: a read failed with ${error.code}`);
  }
}

/** What a dead process held is free as soon as the next one looks at what is due. */
export function judgeLeases(sql: Sql, owner: string, broken: (what: string) => void): void {
  const held = sql.all<{ owner: string }>("SELECT lease_owner AS owner FROM run WHERE state = 'open' AND lease_owner <> ''");
  for (const lease of held) {
    if (isOfEarlierLife(lease.owner, owner)) broken(`${owner} waits for the lease of the dead ${lease.owner}`);
  }
}

/** One alert for one change of state, never two in a row that say the same. */
export function judgeAlerts(sql: Sql, broken: (what: string) => void): number {
  const alerts = sql.all<{ credential_id: string; kind: string }>(
    "SELECT credential_id, kind FROM alert WHERE kind IN ('credential.ready', 'credential.degraded', 'credential.needs_consent', 'credential.disconnected') ORDER BY rowid",
  );
  const last = new Map<string, string>();
  for (const { credential_id, kind } of alerts) {
    if (last.get(credential_id) === kind) broken(`${credential_id}: the alert ${kind} was raised twice for one state`);
    last.set(credential_id, kind);
  }
  return alerts.length;
}

interface LoggedStep {
  readonly action: string;
  readonly outcome: string;
  readonly target: { readonly id?: string };
  readonly details?: { readonly step?: string };
}

/** The log verifies as an outsider would verify it, and says as many intents and outcomes as the journals do. */
export async function judgeLog(vault: TenantVault, sql: Sql, auditor: Caller, broken: (what: string) => void): Promise<number> {
  const verifier = new ExportVerifier({ verifierKey: inside(vault).core.audit.verifierKey });
  const decoder = new TextDecoder();
  const steps = new Map<string, number>();
  let rest = '';
  for await (const slice of exportAudit(vault, auditor)) {
    const lines = (rest + decoder.decode(slice, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const text of lines) {
      verifier.push(text);
      if (!text.includes('"credential.rotate"')) continue;
      const { outcome, target, details } = JSON.parse(text) as LoggedStep;
      // A failure that was booked has a step; one that was not has none.
      if (details?.step === undefined || outcome === 'denied') continue;
      const key = `${target.id} ${details.step === 'intent' ? 'intent' : 'outcome'}`;
      steps.set(key, (steps.get(key) ?? 0) + 1);
    }
  }
  if (rest !== '') broken('the log: the export does not end with a newline');
  const verified = verifier.finish();
  for (const finding of verified.findings) broken(`the log: ${finding.kind}: ${finding.explanation}`);
  const journalled = sql.all<{ id: string; intents: number; stored: number }>(
    "SELECT credential_id AS id, sum(run_step.step = 'intent') AS intents, sum(run_step.step = 'stored') AS stored FROM run_step JOIN run ON run.id = run_id GROUP BY credential_id",
  );
  for (const { id, intents, stored } of journalled) {
    const said = steps.get(`${id} intent`) ?? 0;
    if (said !== intents) broken(`${id}: ${intents} intents in the journals, ${said} in the log`);
    if ((steps.get(`${id} outcome`) ?? 0) < stored) broken(`${id}: ${stored} refreshes were stored, the log has fewer outcomes`);
  }
  return verified.events;
}
