// Creates, lists and cancels links (decision 0007).
// It must never change a working grant: the new one replaces it only after the person has consented.

import type { Found } from '../../../src/access/guard.ts';
import type { Caller } from '../../../src/access/principals.ts';
import { fail, notFound } from '../../../src/base/errors.ts';
import { newId } from '../../../src/base/ids.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import type { Lookup, WriteAccess } from '../../../src/cell/access.ts';
import type { Connection, ConnectionRow } from '../../../src/cell/connections.ts';
import type { CredentialRow, EnvironmentRow } from '../../../src/cell/credentials.ts';
import { boundPart, changedSetting, settingsOfVersion, type VersionSettings } from '../../../src/vault/bound-settings.ts';
import { changeCredential, createCredential, saveDraft } from '../../../src/vault/credential.ts';
import { jsonBytes, type RetainedGrant } from '../../../src/vault/credential-kinds.ts';
import type { Page } from '../../../src/vault/describe-credential.ts';
import { boundSettings, redirect } from '../../../src/vault/destinations.ts';
import { credentialTarget, type Located } from '../../../src/vault/targets.ts';
import type { TenantJob, TenantView } from '../../../src/vault/tenant-job.ts';
import { retainedOf, storeVersion } from '../../../src/vault/versions.ts';
import type { JobPorts } from '../../engine/due-work.ts';
import { type Discovered, discover } from '../../oauth2/discovery.ts';
import { mayReachLoopback } from '../connector-settings.ts';
import {
  type AskedScope,
  type ConnectionRequest,
  type ConsentPorts,
  factsOf,
  isUsable,
  newLinkToken,
  openParameters,
} from './request.ts';
import { unconnectedCredential } from './store-grant.ts';
import { type ConnectionInput, checkWanted, hasSecret, plainlyWanted, requireProof, secretsFor, type Wanted } from './wanted.ts';

export interface MadeConnection {
  readonly connection: Connection;
  /** Shown once; only its hash is kept. */
  readonly linkToken: string;
  readonly scopes: readonly AskedScope[];
  readonly located: Located;
}

interface Place {
  readonly environment: EnvironmentRow;
  readonly row: CredentialRow | undefined;
}

/**
 * Discovers the endpoints of a connector with an issuer. It is asynchronous and therefore precedes the batch; the caller is authorized first.
 * Undefined if no discovery is needed.
 * @throws as `createConnection` | invalid_request at /config/issuer | provider_unavailable
 */
export async function discoverEndpoints(
  ports: ConsentPorts,
  caller: Caller,
  input: ConnectionInput,
): Promise<Discovered | undefined> {
  const { vault } = ports;
  const place = () => vault.lookup('consent', (lookup, view) => target(view, lookup, input).subject);
  const { connector, config } = plainlyWanted(ports, place()?.row, input);
  if (connector?.consent?.openid !== true || config?.issuer === undefined) return undefined;
  if (connector.consent.authorizeEndpoint !== '' || config.authorization_endpoint !== undefined) return undefined;
  await vault.submit((job) =>
    job.door.enter(
      caller,
      'connection.create',
      (lookup) => target(job, lookup, input),
      (_access, _place, details) => {
        details.step = 'discovery';
      },
    ),
  );
  const allowLoopback = mayReachLoopback(ports.sandboxAllowed, connector.id, config);
  return discover({ issuer: config.issuer, sandbox: config.sandbox, allowLoopback }, ports.egress);
}

/** Creates a link, and the credential if it does not exist. @throws invalid_request | conflict | gone */
export function createConnection(
  ports: JobPorts,
  caller: Caller,
  input: ConnectionInput,
  discovered: Discovered | undefined,
): MadeConnection {
  const { job } = ports;
  return job.door.enter(
    caller,
    'connection.create',
    (lookup) => target(job, lookup, input),
    (access, place, details) => {
      const wanted = checkWanted(ports, place.row, input, discovered);
      const located =
        place.row === undefined
          ? firstOf(job, access, place, input, wanted)
          : againOf(job, access, { environment: place.environment, row: place.row }, input, wanted);
      const { token, hash } = newLinkToken(job);
      const { pending_version: pending } = located.row;
      const secretVersion = place.row === undefined || pending === place.row.pending_version ? null : pending;
      const request: ConnectionRequest = {
        redirectUri: input.redirectUri,
        scopes: wanted.scopes.map(({ scope }) => scope),
        ...(place.row !== undefined && (wanted.changed || secretVersion !== null) ? { config: wanted.config } : {}),
        ...(secretVersion === null ? {} : { secretVersion }),
        ...(discovered?.namesItself === true ? { namesItself: true as const } : {}),
      };
      const connection = newConnection(job, access, {
        credentialId: located.row.id,
        linkHash: hash,
        request,
        ttlMs: input.ttlMs,
      });
      job.connections.insert(access, connection);
      job.dueChanged();
      details.connection = connection.id;
      details.connector = located.row.connector ?? '';
      if (place.row !== undefined) askToRedirect(job, caller, located, place.row, wanted);
      return { connection, linkToken: token, scopes: wanted.scopes, located };
    },
  );
}

function newConnection(job: TenantJob, access: WriteAccess, wanted: NewConnection): Connection {
  const now = job.platform.clock.now();
  return {
    id: newId('connection', job.platform.entropy),
    credential_id: wanted.credentialId,
    state: 'open',
    link_hash: wanted.linkHash,
    state_hash: null,
    browser_hash: null,
    attempt: 0,
    request: JSON.stringify(wanted.request),
    cause: null,
    created_at: now,
    created_by: access.principalId,
    expires_at: now + wanted.ttlMs,
    attempt_expires_at: null,
    finished_at: null,
  };
}

interface NewConnection {
  readonly credentialId: string;
  readonly linkHash: Uint8Array;
  readonly request: ConnectionRequest;
  readonly ttlMs: number;
}

/** Newest first; `mark`: the end of the previous page. @throws not_found */
export function listConnections(
  job: TenantJob,
  caller: Caller,
  place: { readonly environment: string; readonly name: string },
  mark: string | undefined,
  maxRows: number,
): Page<Connection> {
  return job.door.enter(
    caller,
    'connection.list',
    (lookup) => credentialTarget(job, lookup, place.environment, place.name),
    (access, { row }) => {
      const [createdAt = '', id = ''] = (mark ?? String(Number.MAX_SAFE_INTEGER)).split(' ');
      const found = job.connections.list(access, row.id, { createdAt: Number(createdAt), id }, maxRows + 1);
      const rows = found.slice(0, maxRows);
      const last = found.length > maxRows ? rows.at(-1) : undefined;
      return { rows, next: last === undefined ? undefined : `${last.created_at} ${last.id}` };
    },
  );
}

/** Cancels the link. Idempotent. @throws not_found | conflict if the account is already connected */
export function cancelConnection(
  job: TenantJob,
  caller: Caller,
  place: { readonly environment: string; readonly name: string },
  id: string,
): Connection {
  return job.door.enter(
    caller,
    'connection.cancel',
    (lookup) => credentialTarget(job, lookup, place.environment, place.name),
    (access, { row }, details) => {
      const connection = job.connections.find(access, id);
      if (connection === undefined || connection.credential_id !== row.id) return notFound('connection');
      details.connection = id;
      if (connection.state === 'connected' || connection.state === 'choosing')
        fail('conflict', 'the account is already connected: disconnect it instead');
      if (!isUsable(connection, job.platform.clock.now())) return connection;
      return endConnection(job, access, connection, 'cancelled', null);
    },
  );
}

/** Ends a connection that was not completed. */
export function endConnection(
  job: TenantJob,
  access: WriteAccess,
  connection: ConnectionRow,
  state: 'cancelled' | 'expired',
  cause: string | null,
): Connection {
  const now = job.platform.clock.now();
  const ended: Connection = { ...factsOf(connection), state, cause, state_hash: null, finished_at: now };
  job.connections.save(access, ended);
  releaseSecret(job, access, connection);
  job.dueChanged();
  return ended;
}

/** Discards the pending client secret of a link that was not used. */
function releaseSecret(job: TenantJob, access: WriteAccess, { credential_id, request }: ConnectionRow): void {
  const { secretVersion } = JSON.parse(request) as ConnectionRequest;
  const row = job.credentials.byId(access, credential_id);
  if (row.pending_version !== secretVersion || row.state !== 'active') return;
  const environment = job.credentials.environmentById(access, row.environment_id);
  changeCredential(job, access, { environment, row }, (draft) => {
    draft.pending_version = null;
  });
}

function target(view: TenantView, lookup: Lookup, input: ConnectionInput): Found<Place> {
  const environment = view.credentials.findEnvironment(lookup, input.environment);
  const row = environment === undefined ? undefined : view.credentials.find(lookup, environment.id, input.name);
  const connector = row === undefined ? input.connector : (row.connector ?? undefined);
  return {
    resource: {
      type: 'Credential',
      tenant: view.tenant.id,
      environment: input.environment,
      kind: row?.kind ?? 'oauth2',
      ...(connector === undefined ? {} : { connector }),
    },
    target: {
      type: 'credential',
      environment: input.environment,
      name: input.name,
      ...(row === undefined ? {} : { id: row.id }),
    },
    subject: environment === undefined ? undefined : { environment, row },
  };
}

function firstOf(job: TenantJob, access: WriteAccess, place: Place, input: ConnectionInput, wanted: Wanted): Located {
  requireProof(input.secrets, wanted.clientAuthentication);
  const facts = unconnectedCredential(job, access, place.environment, {
    name: input.name,
    connector: wanted.connector.id,
    config: wanted.config,
    labels: input.labels,
    description: input.description,
  });
  const located = createCredential(job, access, place.environment, facts);
  storeVersion(job, access, facts, sealedSecrets(job, facts, given(input.secrets)), { origin: 'put', runId: null });
  return located;
}

/**
 * Keeps id, access rules, history and the current grant. New client secrets, and settings that determine their destination, wait together in a
 * pending version until the consent.
 */
function againOf(
  job: TenantJob,
  access: WriteAccess,
  { environment, row: facts }: Located,
  input: ConnectionInput,
  wanted: Wanted,
): Located {
  const usable = job.connections.usable(access, facts.id, job.platform.clock.now());
  if (usable.length >= LIMITS.connectionsOpenMaxCount)
    fail('conflict', `a credential may have at most ${LIMITS.connectionsOpenMaxCount} open links: cancel one`);
  const retained = retainedOf(job, access, facts, facts.current_version);
  const settings = settingsOfVersion(facts, facts.current_version, retained);
  const secrets = secretsFor(wanted, given(input.secrets), { secrets: clientSecretsOf(retained), settings });
  const next: CredentialRow = {
    ...facts,
    labels: input.labels === undefined ? facts.labels : JSON.stringify(input.labels),
    description: input.description ?? facts.description,
  };
  const isBoundAnew = settings === undefined || needsVersion(settings, wanted);
  if (hasSecret(input) || isBoundAnew) {
    next.latest_version += 1;
    next.pending_version = next.latest_version;
    const bound = { ...next, config: JSON.stringify(wanted.config) };
    storeVersion(job, access, next, sealedSecrets(job, bound, secrets), { origin: 'put', runId: null });
    // A link that uses the previous pending secret would not find it any more.
    for (const older of usable) {
      const relied = (JSON.parse(older.request) as ConnectionRequest).secretVersion !== undefined;
      if (relied) endConnection(job, access, older, 'cancelled', 'superseded');
    }
  }
  const isChanged =
    next.pending_version !== facts.pending_version || input.labels !== undefined || input.description !== undefined;
  return isChanged ? saveDraft(job, access, environment, next) : { environment, row: facts };
}

/** The settings in which the link's destinations or client differ from the credential's. */
function askToRedirect(job: TenantJob, caller: Caller, located: Located, before: CredentialRow, wanted: Wanted): void {
  const settings = settingsOfVersion(before, before.current_version, {});
  if (settings !== undefined && !needsVersion(settings, wanted)) return;
  const after = boundSettings(job, { ...located.row, config: JSON.stringify(wanted.config) });
  redirect(job, caller, located, { before: boundSettings(job, before), after, takesEffect: false });
}

/** Whether the link's settings differ from those sealed with the current version. */
function needsVersion(settings: VersionSettings, { connector, config }: Wanted): boolean {
  return changedSetting(boundPart(settings.config), boundPart(config), openParameters(connector)) !== undefined;
}

function sealedSecrets(
  job: TenantJob,
  bound: Pick<CredentialRow, 'kind' | 'connector' | 'config'>,
  { settings: _of, ...secrets }: RetainedGrant,
) {
  const retained: RetainedGrant = { ...secrets, settings: boundSettings(job, bound) };
  return { value: jsonBytes({}), retained: jsonBytes(retained), expiresAtMs: undefined };
}

function given(secrets: RetainedGrant): RetainedGrant {
  return Object.fromEntries(Object.entries(secrets).filter(([, secret]) => secret !== undefined)) as RetainedGrant;
}

function clientSecretsOf({ refresh_token: _token, settings: _of, ...secrets }: RetainedGrant): RetainedGrant {
  return secrets;
}
