// The first start's tour: real requests to the service that just came up, and a real authorization server beside it.
// It must never print a token whole, nor stop the service when a step fails.
import { setTimeout as sleep } from 'node:timers/promises';
import { startSandbox } from '../../rotation/sandbox/authorization-server.ts';
import { ExportVerifier } from '../audit/verify-export.ts';
import { KeyturnClient, type ReadValue } from '../sdk/client.ts';
import { CliError, sayError } from './exit.ts';
import { bold, cyan, dim, green, note, red } from './print.ts';
import { NODE_RUNTIME } from './session.ts';

type RunningKeyturn = import('../node/start.ts').RunningKeyturn;

const TENANT = 'demo';
const ENVIRONMENT = 'staging';
const TOKEN_TTL_SECONDS = 3;

type Sandbox = Awaited<ReturnType<typeof startSandbox>>;

function said(what: string, detail: string): void {
  note(`  ${green('✓')} ${what.padEnd(37)} ${dim(detail)}`);
}

/** Enough to tell two tokens apart. */
function masked(read: ReadValue): string {
  return `${String(read.value.reveal()['access_token']).slice(0, 4)}…`;
}

/** Runs the tour; true when it came to its end. A failed step is named and ends it. The sandbox stays up with the service. */
export async function showTour(running: RunningKeyturn): Promise<boolean> {
  note(`  ${bold('A short tour')}, in a demo tenant against a real authorization server on this machine`);
  try {
    let ttlSeconds = TOKEN_TTL_SECONDS;
    const sandbox = await startSandbox({ accessTokenTtlSeconds: () => ttlSeconds });
    const owner = await makeTenant(running);
    await connect(owner, sandbox);
    const workload = await makeWorkload(running, owner);
    await fetchAndRefresh(workload, sandbox);
    // From here on tokens live an hour, or the demo would refresh every two seconds for as long as the service runs.
    ttlSeconds = 3_600;
    await rotate(owner);
    await showLog(owner);
    note('');
    return true;
  } catch (error) {
    note(`  ${red('✗')} the tour stopped: ${sayError(error).lines[0]}`);
    note(`    ${dim('the service is up all the same; the next start shows it again')}\n`);
    return false;
  }
}

/** The owner's token for the tour lives in this process's memory, for two minutes. */
async function makeTenant(running: RunningKeyturn): Promise<KeyturnClient> {
  const token = await running.createDemoTenant(TENANT);
  if (token === undefined) throw new CliError(`there is a tenant ${TENANT} that is not the tour's`);
  said('made a tenant', `${TENANT}: its own database and keys`);
  const text = token.reveal((bytes) => new TextDecoder().decode(bytes));
  return new KeyturnClient({ address: running.url, tenant: TENANT, token: text }, NODE_RUNTIME);
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
  said(
    'connected a credential',
    `crm: an OAuth grant whose access token lives ${TOKEN_TTL_SECONDS} s, its refresh token is single-use`,
  );
}

async function makeWorkload(running: RunningKeyturn, owner: KeyturnClient): Promise<KeyturnClient> {
  const made = await owner.createWorkload({
    name: `nightly-sync-${Date.now().toString(36)}`,
    environment: ENVIRONMENT,
    patterns: ['crm'],
    permissions: ['read'],
  });
  said('made a workload', `${made.workload.name} may read crm in ${ENVIRONMENT}, nothing else`);
  const credentials = { clientId: made.client_id, clientSecret: made.client_secret ?? undefined };
  return new KeyturnClient(
    { address: running.url, tenant: TENANT, ...credentials, workflow: 'nightly-sync', workflowRun: 'tour' },
    NODE_RUNTIME,
  );
}

async function works(sandbox: Sandbox, read: ReadValue): Promise<string> {
  const token = String(read.value.reveal()['access_token']);
  const answer = await fetch(sandbox.userinfoEndpoint, { headers: { authorization: `Bearer ${token}` } });
  return answer.ok ? 'the provider accepts it' : `the provider answers ${answer.status}`;
}

async function fetchAndRefresh(workload: KeyturnClient, sandbox: Sandbox): Promise<void> {
  const first = await workload.read(ENVIRONMENT, 'crm');
  said('fetched the token as the workload', `version ${first.version}, ${masked(first)}, ${await works(sandbox, first)}`);
  await sleep(TOKEN_TTL_SECONDS * 1_000 + 300);
  const second = await workload.read(ENVIRONMENT, 'crm');
  said(
    'waited until it expired, asked again',
    `version ${second.version}, ${masked(second)}, ${await works(sandbox, second)}: refreshed by itself`,
  );
}

async function rotate(owner: KeyturnClient): Promise<void> {
  let run = await owner.rotate(ENVIRONMENT, 'crm');
  for (let tries = 0; run.state === 'open' && tries < 50; tries++) {
    await sleep(100);
    run = await owner.run(ENVIRONMENT, 'crm', run.id);
  }
  const steps = (run.steps ?? []).map((step) => step.step).join(' → ');
  said('rotated it on request', `${run.state}: ${steps === '' ? run.step : steps}, now version ${run.new_version}`);
}

async function showLog(owner: KeyturnClient): Promise<void> {
  const page = await owner.events({ limit: 6 });
  said('every step is in the audit log', `the newest ${page.items.length}:`);
  for (const event of [...page.items].reverse()) {
    const what = event.target.name ?? event.target.type;
    const step = typeof event.details?.['step'] === 'string' ? `, ${event.details['step']}` : '';
    note(
      `      ${dim(event.at.slice(11, 23))}  ${cyan(event.action.padEnd(18))} ${what.padEnd(6)} ${event.outcome}  ${dim(`by the ${event.actor.type}${step}`)}`,
    );
  }
  const head = await owner.checkpoint();
  const verifier = new ExportVerifier({ verifierKey: head.verifier_key, checkpoints: [head.note] });
  for await (const line of owner.exportLines()) verifier.push(line);
  const result = verifier.finish();
  if (result.ok)
    said(
      'exported and verified it offline',
      `${result.events} events, ${result.checkpoints} signed heads, nothing edited, nothing missing`,
    );
  else note(`  ${red('✗')} the log does not verify: ${result.findings[0]?.explanation}`);
}
