// One tenant in memory, a provider that answers as the test says, and the two people of a consent: the admin who makes a link and the
// customer who follows it. Every value is made up; not-a-real-secret.
import type { EgressAnswer, EgressRequest, OAuthConnector } from '../../rotation/connector.ts';
import { EgressFailure, type EgressReason } from '../../rotation/connector.ts';
import type { LeasePorts } from '../../rotation/engine/due-work.ts';
import { type Completed, completeConsent } from '../../rotation/grants/consent/callback.ts';
import { createConnection, discoverEndpoints, type MadeConnection } from '../../rotation/grants/consent/make-link.ts';
import type { ConsentPorts, Visitor } from '../../rotation/grants/consent/request.ts';
import { type Begun, beginConsent } from '../../rotation/grants/consent/visit.ts';
import type { ConnectionInput } from '../../rotation/grants/consent/wanted.ts';
import type { Caller } from '../../src/access/principals.ts';
import { fail } from '../../src/base/errors.ts';
import type { Faults } from '../../src/base/faults.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { ConnectionRow } from '../../src/cell/connections.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { oauth2Config } from '../../src/vault/credential-kinds.ts';
import { grantOf } from '../../src/vault/grant.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import { eventsOf, type TestTenant, testTenant } from './vaults.ts';

export const PUBLIC_URL = 'https://vault.example';
export const CALLBACK = `${PUBLIC_URL}/connect/callback`;

/** A provider that follows the standards; each test says how it differs. */
export const CRM: OAuthConnector = {
  id: 'made-up-crm',
  title: 'Made-up CRM',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: 'https://api.crm.example/token',
    hosts: ['api.crm.example'],
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'always',
    lostAnswer: { kind: 'unsafe' },
    scopeSeparator: ' ',
    accountFields: { hub_id: 'hub_id' },
  },
  adjustable: ['tokenEndpoint'],
  consent: {
    authorizeEndpoint: 'https://app.crm.example/authorize',
    pkce: 'S256',
    alwaysScopes: ['offline'],
    scopeTitles: { 'contacts.read': 'Read contacts', offline: 'Stay connected' },
  },
};

export const CONFIG = {
  client_id: 'made-up-client',
  workflows: [
    { name: 'nightly-sync', scopes: ['contacts.read', 'deals.read'], why: 'Copies new contacts every night' },
    { name: 'reports', scopes: ['deals.read'] },
  ],
};

export type Reply =
  | { readonly status: number; readonly body: unknown; readonly headers?: Readonly<Record<string, string>> }
  | { readonly fails: EgressReason };

export interface ConsentBench {
  readonly tenant: TestTenant;
  readonly ports: ConsentPorts & LeasePorts;
  /** What reached the provider, with its body as text. */
  readonly sent: {
    readonly url: string;
    readonly method: string;
    readonly fields: URLSearchParams;
    readonly headers: string[];
  }[];
  /** The answers to come, first to last; the usual tokens when none is left. */
  readonly replies: (Reply | ((request: EgressRequest) => Promise<Reply>))[];
  readonly admin: () => Caller;
  readonly visitor: () => Visitor;
  /** Refusals that counted against the customer's source. */
  readonly counted: () => number;
  /** From now on one refusal is one too many. */
  flood(): void;
  make(name: string, input?: Partial<ConnectionInput>): Promise<MadeConnection>;
  begin(link: string, filledIn?: Readonly<Record<string, string>>): Promise<Begun & { readonly kind: 'go' }>;
  /** The browser comes back from where `begin` sent it. */
  comeBack(begun: { url: string; browser: string }, fields?: Readonly<Record<string, string>>): Promise<Completed>;
  callback(fields: Readonly<Record<string, string>>, browser: string | undefined): Promise<Completed>;
  /** Makes, begins and comes back. */
  connect(name: string): Promise<MadeConnection>;
  row(name: string): CredentialRow;
  connection(id: string): ConnectionRow;
  facts(name: string): ReturnType<typeof grantOf>;
  /** The last revocation of the credential, as it is told. */
  revocation(name: string): ToldRevocation | undefined;
  served(name: string): Promise<Record<string, unknown>>;
  events(step?: string): Record<string, unknown>[];
}

export interface ToldRevocation {
  readonly state: string;
  readonly attempts: number;
  readonly version: number;
  readonly cause: string | undefined;
  readonly dueAt: number | null;
  readonly steps: readonly string[];
}

/** What became of the credential's last revocation: `waiting`, or how its run ended. */
export function toldRevocation(vault: TenantVault, credentialId: string): ToldRevocation | undefined {
  return vault.lookup('test', (lookup, { runs }) => {
    const run = runs.lastRevocation(lookup, credentialId);
    return run === undefined
      ? undefined
      : {
          state: run.state === 'open' ? 'waiting' : (run.outcome ?? ''),
          attempts: run.attempts,
          version: run.generation,
          cause: run.cause ?? undefined,
          dueAt: run.next_attempt_at,
          steps: runs.steps(lookup, run.id).map(({ step }) => step),
        };
  });
}

let issued = 0;

export function tokens(extra: Readonly<Record<string, unknown>> = {}): Reply {
  issued += 1;
  return {
    status: 200,
    body: {
      access_token: `access-${issued}-not-a-real-secret`,
      refresh_token: `refresh-${issued}-not-a-real-secret`,
      token_type: 'bearer',
      expires_in: 1800,
      scope: 'offline contacts.read deals.read',
      hub_id: 4711,
      ...extra,
    },
  };
}

export async function consentBench(changes: Partial<OAuthConnector> = {}, faults?: Faults): Promise<ConsentBench> {
  const tenant = await testTenant(faults === undefined ? { demo: true } : { demo: true, faults });
  const { vault, sql, clock } = tenant;
  const connector = { ...CRM, ...changes };
  const sent: ConsentBench['sent'] = [];
  const replies: ConsentBench['replies'] = [];
  const send = async (request: EgressRequest): Promise<EgressAnswer> => {
    const body = request.body instanceof SecretValue ? request.body.reveal((bytes) => new TextDecoder().decode(bytes)) : '';
    sent.push({
      url: request.url,
      method: request.method,
      fields: new URLSearchParams(body),
      headers: Object.keys(request.headers),
    });
    const next = replies.shift() ?? tokens();
    const reply = typeof next === 'function' ? await next(request) : next;
    if ('fails' in reply) throw new EgressFailure(reply.fails);
    const text = typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body);
    return { status: reply.status, headers: reply.headers ?? {}, body: SecretValue.fromText(text), sentAtMs: clock.now() };
  };
  const ports = {
    vault,
    owner: 'bench',
    egress: { send },
    connectors: new Map([[connector.id, connector]]),
    sandboxAllowed: true,
  };
  const admin = () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: clock.now() });
  let counted = 0;
  let flooded = false;
  const visitor = (): Visitor => ({
    caller: tenant.token(undefined, '198.51.100.7'),
    refused: async () => {
      counted += 1;
      if (flooded) fail('rate_limited', 'too many');
    },
  });
  const make = async (name: string, input: Partial<ConnectionInput> = {}) => {
    const whole: ConnectionInput = {
      environment: 'staging',
      name,
      connector: connector.id,
      config: oauth2Config.parse(CONFIG),
      secrets: { client_secret: 'client-not-a-real-secret' },
      ttlMs: LIMITS.connectLinkTtlDefaultMs,
      labels: undefined,
      description: undefined,
      redirectUri: CALLBACK,
      ...input,
    };
    const caller = admin();
    const discovered = await discoverEndpoints(ports, caller, whole);
    return vault.submit((job) => createConnection({ ...ports, job }, caller, whole, discovered));
  };
  const begin = async (link: string, filledIn: Readonly<Record<string, string>> = {}) => {
    const begun = await beginConsent(ports, visitor(), link, filledIn);
    if (begun.kind !== 'go') throw new Error(`the attempt did not begin: ${begun.kind}`);
    return begun;
  };
  const callback = (fields: Readonly<Record<string, string>>, browser: string | undefined) =>
    completeConsent(ports, visitor(), { fields, browser });
  const comeBack: ConsentBench['comeBack'] = ({ url, browser }, fields = { code: 'code-not-a-real-secret' }) =>
    callback({ state: new URL(url).searchParams.get('state') ?? '', ...fields }, browser);
  const row = (name: string) => sql.get<CredentialRow>('SELECT * FROM credential WHERE name = ?', name) as CredentialRow;
  return {
    tenant,
    ports,
    sent,
    replies,
    admin,
    visitor,
    counted: () => counted,
    flood: () => {
      flooded = true;
    },
    make,
    begin,
    callback,
    comeBack,
    row,
    connect: async (name) => {
      const made = await make(name);
      await comeBack(await begin(made.linkToken));
      return made;
    },
    connection: (id) => sql.get<ConnectionRow>('SELECT * FROM connection WHERE id = ?', id) as ConnectionRow,
    facts: (name) => grantOf(row(name)),
    revocation: (name) => toldRevocation(vault, row(name).id),
    served: async (name) => {
      const owner = tenant.user(['owner'], 'everywhere', { bootstrap: true });
      const { body } = await vault.submit((job) =>
        readCredential(job, owner, { environment: 'staging', name, version: undefined, stage: undefined }),
      );
      return (JSON.parse(new TextDecoder().decode(body)) as { value: Record<string, unknown> }).value;
    },
    events: (step) =>
      eventsOf(sql).filter((event) => step === undefined || (event['details'] as { step?: string } | undefined)?.step === step),
  };
}
