// The tour at the first start: real requests to the running service, with a local authorization server as the provider.
// It must never print a complete token, nor stop the service if a step fails.
import { setTimeout as sleep } from 'node:timers/promises';
import { startSandbox } from '../../rotation/sandbox/authorization-server.ts';
import { startPersonas } from '../../rotation/sandbox/personas.ts';
import { ExportVerifier } from '../audit/verify-export.ts';
import { LIMITS } from '../base/limits.ts';
import type { KeyturnClient, ReadValue } from '../sdk/client.ts';
import { keyturnClient } from '../sdk/node.ts';
import { CliError, sayError } from './exit.ts';
import { bold, cyan, dim, green, note, red } from './print.ts';

type RunningKeyturn = import('../node/start.ts').RunningKeyturn;
type Run = Awaited<ReturnType<KeyturnClient['rotate']>>;

const TENANT = 'demo';
const ENVIRONMENT = 'staging';
const TOKEN_TTL_SECONDS = 3;

type Sandbox = Awaited<ReturnType<typeof startSandbox>>;

function printStep(what: string, detail: string): void {
  note(`  ${green('✓')} ${what.padEnd(37)} ${dim(detail)}`);
}

/** The first characters, enough to see that two tokens differ. */
function masked(read: ReadValue): string {
  return `${String(read.value.reveal()['access_token']).slice(0, 4)}…`;
}

/** Runs the tour; true if all steps succeeded. A failed step is reported and ends it. The sandbox keeps running with the service. */
export async function showTour(running: RunningKeyturn): Promise<boolean> {
  note(`  ${bold('A short tour')}: a demo tenant and a local authorization server as the provider`);
  try {
    let ttlSeconds = TOKEN_TTL_SECONDS;
    const sandbox = await startSandbox({ accessTokenTtlSeconds: () => ttlSeconds });
    const owner = await makeTenant(running);
    await connect(owner, sandbox);
    const workload = await makeWorkload(running, owner);
    await fetchAndRefresh(workload, sandbox);
    // From now on tokens live one hour; otherwise the demo would refresh every two seconds while the service runs.
    ttlSeconds = 3_600;
    await rotate(owner);
    await rotateKey(owner);
    await showLog(owner);
    note('');
    return true;
  } catch (error) {
    note(`  ${red('✗')} the tour stopped: ${sayError(error).lines[0]}`);
    note(`    ${dim('the service is running; the next start repeats the tour')}\n`);
    return false;
  }
}

/** The owner's token for the tour is kept in memory only and is valid for two minutes. */
async function makeTenant(running: RunningKeyturn): Promise<KeyturnClient> {
  const token = await running.createDemoTenant(TENANT);
  if (token === undefined) throw new CliError(`a tenant named ${TENANT} exists that the tour did not create`);
  printStep('created a tenant', `${TENANT}: its own database and keys`);
  const text = token.reveal((bytes) => new TextDecoder().decode(bytes));
  return keyturnClient({ address: running.url, tenant: TENANT, token: text });
}

async function connect(owner: KeyturnClient, sandbox: Sandbox): Promise<void> {
  const grant = await sandbox.issueGrant();
  await owner.put(ENVIRONMENT, 'crm', {
    kind: 'oauth2',
    connector: 'local-sandbox',
    value: {
      access_token: grant.accessToken,
      refresh_token: grant.refreshToken,
      client_secret: sandbox.clientSecret,
      expires_in: grant.expiresIn,
    },
    config: { token_endpoint: sandbox.tokenEndpoint, client_id: sandbox.clientId },
    description: 'an account at the bundled sandbox provider',
  });
  printStep(
    'connected a credential',
    `crm: an OAuth grant; its access token lives ${TOKEN_TTL_SECONDS} s, its refresh token is single-use`,
  );
}

async function makeWorkload(running: RunningKeyturn, owner: KeyturnClient): Promise<KeyturnClient> {
  const made = await owner.createWorkload({
    name: `nightly-sync-${Date.now().toString(36)}`,
    environment: ENVIRONMENT,
    patterns: ['crm'],
    permissions: ['read'],
  });
  printStep('created a workload', `${made.workload.name} may only read crm in ${ENVIRONMENT}`);
  const credentials = { clientId: made.client_id, clientSecret: made.client_secret ?? undefined };
  return keyturnClient({ address: running.url, tenant: TENANT, ...credentials, workflow: 'nightly-sync', workflowRun: 'tour' });
}

async function works(sandbox: Sandbox, read: ReadValue): Promise<string> {
  const token = String(read.value.reveal()['access_token']);
  const answer = await fetch(sandbox.userinfoEndpoint, { headers: { authorization: `Bearer ${token}` } });
  return answer.ok ? 'the provider accepts it' : `the provider answers ${answer.status}`;
}

async function fetchAndRefresh(workload: KeyturnClient, sandbox: Sandbox): Promise<void> {
  const first = await workload.read(ENVIRONMENT, 'crm');
  printStep('fetched the token as the workload', `version ${first.version}, ${masked(first)}, ${await works(sandbox, first)}`);
  await sleep(TOKEN_TTL_SECONDS * 1_000 + 300);
  const second = await workload.read(ENVIRONMENT, 'crm');
  printStep(
    'waited for its expiry, fetched again',
    `version ${second.version}, ${masked(second)}, ${await works(sandbox, second)}: refreshed automatically`,
  );
}

async function rotate(owner: KeyturnClient): Promise<void> {
  const run = await ended(owner, 'crm', await owner.rotate(ENVIRONMENT, 'crm'));
  const steps = (run.steps ?? []).map((step) => step.step).join(' → ');
  printStep('rotated it on request', `${run.state}: ${steps === '' ? run.step : steps}, now version ${run.new_version}`);
}

/** A key at a provider with an API for its keys, which the sandbox plays. */
async function rotateKey(owner: KeyturnClient): Promise<void> {
  const { origin, firstKey } = await startPersonas({ connectors: [] });
  await owner.put(ENVIRONMENT, 'mail', {
    kind: 'api_key',
    connector: 'local-sandbox-key',
    value: firstKey,
    config: { sandbox: origin, grace_seconds: 0, deadline_seconds: 0 },
    description: 'a key at the bundled sandbox provider',
  });
  const run = await ended(owner, 'mail', await owner.rotate(ENVIRONMENT, 'mail'));
  printStep('rotated an API key', `${run.state}: a new key was made and tested, now version ${run.new_version}`);
  for (let tries = 0; tries < LIMITS.tourPollsMax; tries++) {
    const [end] = (await owner.runs(ENVIRONMENT, 'mail')).items.filter(({ kind }) => kind === 'revocation');
    if (end !== undefined && end.state !== 'open') {
      printStep(
        'ended the old key',
        `${end.outcome}, ${end.cause === 'proved_dead' ? 'proved dead: the provider refuses it' : end.cause}`,
      );
      return;
    }
    await sleep(LIMITS.tourPollMs);
  }
  throw new CliError('the old key was not ended in time');
}

async function ended(owner: KeyturnClient, name: string, begun: Run): Promise<Run> {
  let run = begun;
  for (let tries = 0; run.state === 'open' && tries < LIMITS.tourPollsMax; tries++) {
    await sleep(LIMITS.tourPollMs);
    run = await owner.run(ENVIRONMENT, name, run.id);
  }
  return run;
}

async function showLog(owner: KeyturnClient): Promise<void> {
  const page = await owner.events({ limit: 6 });
  printStep('every step is in the audit log', `the newest ${page.items.length}:`);
  for (const event of [...page.items].reverse()) {
    const what = event.target.name ?? event.target.type;
    const step = typeof event.details?.['step'] === 'string' ? `, ${event.details['step']}` : '';
    note(
      `      ${dim(event.at.slice(11, 23))}  ${cyan(event.action.padEnd(18))} ${what.padEnd(6)} ${event.outcome}  ${dim(`by the ${event.actor.type}${step}`)}`,
    );
  }
  const head = await owner.checkpoint();
  const verifier = new ExportVerifier({ verifierKey: head.verifier_key, checkpoints: [head.note] });
  for await (const bytes of owner.exportBytes()) verifier.add(bytes);
  const result = verifier.finish();
  if (result.ok)
    printStep(
      'exported and verified it offline',
      `${result.events} events, ${result.checkpoints} signed heads, nothing edited or missing`,
    );
  else note(`  ${red('✗')} the log does not verify: ${result.findings[0]?.explanation}`);
}
