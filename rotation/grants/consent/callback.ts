// The callback: accepts the state once, exchanges the code, stores the grant, and only then shows a page (decision 0007).
// It must never act for another browser than the one that started, nor show a token.

import { recordFailure } from '../../../src/access/guard.ts';
import type { Caller } from '../../../src/access/principals.ts';
import { fail, KeyturnError } from '../../../src/base/errors.ts';
import type { Connection } from '../../../src/cell/connections.ts';
import { sha256OfText } from '../../../src/crypto/primitives.ts';
import { equalBytes } from '../../../src/crypto/token.ts';
import { boundPart, settingsOfVersion } from '../../../src/vault/bound-settings.ts';
import type { TenantJob } from '../../../src/vault/tenant-job.ts';
import { retainedOf } from '../../../src/vault/versions.ts';
import type { ConsentSpec } from '../../connector.ts';
import type { EnginePorts, JobPorts } from '../../engine/due-work.ts';
import { callPorts, makeCall } from '../../engine/outside-call.ts';
import type { Refreshed, RefreshOutcome } from '../../oauth2/answer.ts';
import { type CodeGrant, exchangeCode, readCallback } from '../../oauth2/authorization-code.ts';
import { boundEgress } from '../../oauth2/destinations.ts';
import { checkParameter, type ResolvedConnector } from '../../oauth2/settings.ts';
import { clientProofsOf } from '../grant-tokens.ts';
import { isGuessed, learnExpiry } from '../learn-expiry.ts';
import { offerChoices } from './choose-account.ts';
import {
  attemptSecrets,
  type ConnectionRequest,
  type Consent,
  type ConsentPorts,
  consentingConnector,
  consentOf,
  enterConsent,
  factsOf,
  issuerOf,
  isUsable,
  loopbackFor,
  noteRefused,
  openParameters,
  recordRefusal,
  requireBound,
  resolveConsent,
  type Visitor,
} from './request.ts';
import { type Consented, storeConsented } from './store-grant.ts';
import { isSameBrowser } from './visit.ts';

/** `<tenant>.<connection>.<random>`. */
export const STATE = /^(ten_[0-9a-z]{24})\.(con_[0-9a-z]{24})\.[A-Za-z0-9_-]{43}$/;

export interface CallbackInput {
  /** The fields of the callback, each given once. */
  readonly fields: Readonly<Record<string, string>>;
  /** From the cookie of the connection in `state`. */
  readonly browser: string | undefined;
}

/** The result for the page. `unknown`: no connection was found; `refused`: nothing was changed. */
export type Completed =
  | { readonly kind: 'connected' | 'choosing' | 'declined' | 'failed' }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'unknown' };

/** Settles when the grant is stored, or when it is certain that there is none. It continues if the browser disconnects. */
export function completeConsent(ports: ConsentPorts, visitor: Visitor, input: CallbackInput): Promise<Completed> {
  return ports.vault.keepOpenFor(complete(ports, visitor, input));
}

async function complete(ports: ConsentPorts, visitor: Visitor, input: CallbackInput): Promise<Completed> {
  const { vault } = ports;
  const { caller } = visitor;
  const exchanged = await makeCall<Taken, RefreshOutcome, TurnedAway | Exchanged | Completed>(callPorts(vault), {
    points: { before: 'connect.before-exchange', after: 'connect.after-exchange', booked: 'connect.after-store' },
    begin: (job) => {
      const taken = takeState({ ...ports, job }, caller, input);
      return taken.kind === 'taken' ? { kind: 'go', attempt: taken } : { kind: 'stop', as: taken };
    },
    call: ({ resolved, grant }) => exchangeCode(resolved, grant, boundEgress(ports.egress, resolved), vault.platform.clock),
    mustBeKept: ({ kind }) => kind === 'refreshed',
    book: (job, taken, outcome) => bookExchange({ ...ports, job }, caller, taken, outcome),
    release: ({ grant }) => {
      for (const secret of [grant.clientSecret, grant.privateKeyJwk, grant.privateKeyPem]) secret?.wipe();
    },
  });
  if (exchanged.kind === 'turned_away') {
    await recordRefusal(vault, visitor, exchanged.consent, exchanged.reason);
    return { kind: 'refused', reason: exchanged.reason };
  }
  if (exchanged.kind !== 'exchanged') return exchanged;
  const { consent, resolved, outcome } = exchanged;
  // In the background; if it cannot be asked, the default expiry stays.
  if (isGuessed(outcome)) void vault.keepOpenFor(learnExpiry(ports, consent.located.row.id)).catch(() => {});
  if (resolved.consent?.choice === undefined) return { kind: 'connected' };
  return { kind: await offerChoices(ports, caller, consent.connection.id) };
}

interface Exchanged {
  readonly kind: 'exchanged';
  readonly consent: Consent;
  readonly resolved: ResolvedConnector;
  readonly outcome: Refreshed;
}

/** Stores the grant, or the failure. */
function bookExchange(
  ports: JobPorts,
  caller: Caller,
  { consent, resolved }: Taken,
  outcome: RefreshOutcome,
): Exchanged | Completed {
  const { job } = ports;
  if (outcome.kind !== 'refreshed') {
    const cause = outcome.kind === 'sent_and_lost' ? 'answer_lost' : outcome.cause;
    finishAttempt(job, caller, consent, 'failed', cause);
    return { kind: 'failed' };
  }
  const { choice, alwaysScopes = [] } = resolved.consent ?? {};
  const { accountId } = resolved.oauth2;
  const open = openParameters(consentingConnector(ports.connectors, consent.connector));
  const consented: Consented = { outcome, alwaysScopes, accountId, open };
  const isStored = storeGrant(job, caller, consent, consented, choice);
  return isStored ? { kind: 'exchanged', consent, resolved, outcome } : { kind: 'refused', reason: 'link_ended_meanwhile' };
}

interface TurnedAway {
  readonly kind: 'turned_away';
  readonly consent: Consent;
  readonly reason: string;
}

type Taken = {
  readonly kind: 'taken';
  readonly consent: Consent;
  readonly resolved: ResolvedConnector;
  readonly grant: CodeGrant;
};

/** INVARIANT: one batch checks and consumes the state and journals the exchange, so that a replay finds no state. */
function takeState(ports: JobPorts, caller: Caller, { fields, browser }: CallbackInput): Taken | TurnedAway | Completed {
  const { job } = ports;
  const state = fields['state'] ?? '';
  const [, tenantId, connectionId] = STATE.exec(state) ?? [];
  if (tenantId !== job.tenant.id || connectionId === undefined) return { kind: 'unknown' };
  const consent = job.door.lookup('consent', (lookup) => {
    const connection = job.connections.find(lookup, connectionId);
    return connection === undefined ? undefined : consentOf(job, lookup, connection);
  });
  if (consent === undefined) return { kind: 'unknown' };
  const refuse = (reason: string): TurnedAway => ({ kind: 'turned_away', consent, reason });
  const reason = refusalOf(consent, state, browser, job.platform.clock.now());
  return reason === undefined ? judge(ports, caller, consent, fields, refuse) : refuse(reason);
}

/** Why the attempt must not continue; undefined if it may. */
function refusalOf(consent: Consent, state: string, browser: string | undefined, now: number): string | undefined {
  const { connection } = consent;
  if (connection.state === 'cancelled') return 'link_ended_meanwhile';
  if (connection.state_hash === null || !equalBytes(sha256OfText(state), connection.state_hash)) return 'state_unknown';
  if (!isUsable(connection, now)) return 'link_spent';
  if ((connection.attempt_expires_at ?? 0) <= now) return 'attempt_expired';
  // SECURITY: stops an attacker from having another person's browser open a callback, which would store the attacker's account (login CSRF).
  return isSameBrowser(consent, browser) ? undefined : 'other_browser';
}

function judge(
  ports: JobPorts,
  caller: Caller,
  consent: Consent,
  fields: Readonly<Record<string, string>>,
  refuse: (reason: string) => TurnedAway,
): Taken | TurnedAway | Completed {
  const { job } = ports;
  let resolved: ResolvedConnector;
  let completed: Consent;
  try {
    const { issuer, required } = issuerOf(resolveConsent(ports, consent, false), consent);
    const callback = readCallback(fields, consent.config.client_id, issuer, required);
    if (callback.kind === 'foreign') return refuse(callback.cause);
    if (callback.kind === 'refused') {
      const kind = callback.declined ? 'declined' : 'failed';
      finishAttempt(job, caller, consent, kind, callback.cause);
      return { kind };
    }
    completed = withCallbackParameters(ports, consent, fields);
    resolved = resolveConsent(ports, completed, false);
    if (resolved.oauth2.tokenEndpoint.includes('{')) throw new KeyturnError('invalid_request', 'a parameter is missing');
    return begin(ports, caller, completed, resolved, callback.code);
  } catch (error) {
    if (!(error instanceof KeyturnError) || error.code !== 'invalid_request') throw error;
    finishAttempt(job, caller, consent, 'failed', 'settings_unusable');
    return { kind: 'failed' };
  }
}

function begin(ports: JobPorts, caller: Caller, consent: Consent, resolved: ResolvedConnector, code: string): Taken {
  const { job } = ports;
  return enterConsent(job, caller, consent, 'exchanging', (access) => {
    const { row } = consent.located;
    const secrets = retainedOf(job, access, row, consent.version);
    const sealed = settingsOfVersion(row, consent.version, secrets);
    const isTheirs = sealed !== undefined && sealed.connector === consent.connector;
    if (!isTheirs) fail('invalid_request', "the destination of this link's client secret is unknown: create another link");
    requireBound(consentingConnector(ports.connectors, consent.connector), consent, boundPart(sealed.config));
    job.connections.save(access, {
      ...factsOf(consent.connection),
      state: 'exchanging',
      state_hash: null,
      request: JSON.stringify(consent.request),
    });
    const grant: CodeGrant = {
      clientId: consent.config.client_id,
      ...clientProofsOf(secrets),
      allowLoopback: loopbackFor(ports, consent),
      code,
      redirectUri: consent.request.redirectUri,
      ...attemptSecrets(job, consent.connection.id, consent.connection.attempt),
    };
    return { kind: 'taken', consent, resolved, grant };
  });
}

/** @throws invalid_request if a value of the provider is not valid */
function withCallbackParameters(ports: EnginePorts, consent: Consent, fields: Readonly<Record<string, string>>): Consent {
  const connector = consentingConnector(ports.connectors, consent.connector);
  const found: Record<string, string> = {};
  for (const [field, name] of Object.entries(connector.consent?.callbackParameters ?? {})) {
    const parameter = connector.parameters?.find((candidate) => candidate.name === name);
    const value = Object.hasOwn(fields, field) ? fields[field] : undefined;
    if (parameter !== undefined && value !== undefined) found[name] = checkParameter(parameter, value);
  }
  if (Object.keys(found).length === 0) return consent;
  const request: ConnectionRequest = { ...consent.request, parameters: { ...consent.request.parameters, ...found } };
  const config = { ...consent.config, parameters: { ...consent.config.parameters, ...found } };
  return { ...consent, request, config };
}

/** Ends an attempt without a grant; the link stays valid until it expires. */
function finishAttempt(job: TenantJob, caller: Caller, consent: Consent, state: 'declined' | 'failed', cause: string): void {
  enterConsent(job, caller, consent, state, (access, details) => {
    details.cause = cause;
    if (state === 'failed') recordFailure(details, 'provider_unavailable');
    const connection = job.connections.find(access, consent.connection.id);
    // Another attempt has started: the result of this one is only logged.
    if (connection === undefined || connection.attempt !== consent.connection.attempt) return;
    if (!['open', 'exchanging', 'declined', 'failed'].includes(connection.state)) return;
    const now = job.platform.clock.now();
    const ended: Connection = { ...factsOf(connection), state, cause, state_hash: null, finished_at: now };
    job.connections.save(access, ended);
    job.dueChanged();
  });
}

/** False if the link was cancelled or the credential was deleted during the exchange. */
function storeGrant(
  job: TenantJob,
  caller: Caller,
  begun: Consent,
  consented: Consented,
  choice: ConsentSpec['choice'],
): boolean {
  const consent = job.door.lookup('consent', (lookup) => {
    const connection = job.connections.find(lookup, begun.connection.id);
    return connection === undefined ? undefined : consentOf(job, lookup, connection);
  });
  const ended = consent === undefined || ['connected', 'choosing', 'cancelled'].includes(consent.connection.state);
  if (ended) {
    noteRefused(job, caller, begun, 'link_ended_meanwhile');
    return false;
  }
  enterConsent(job, caller, consent, 'stored', (access, details) => {
    const now = job.platform.clock.now();
    const { connection, located } = consent;
    const stored = storeConsented(job, access, { ...begun, connection, located }, consented, details);
    const attemptEndsAt = consent.connection.attempt_expires_at ?? now;
    job.connections.save(access, {
      ...factsOf(consent.connection),
      state: choice === undefined ? 'connected' : 'choosing',
      state_hash: null,
      cause: consented.outcome.refreshToken === undefined ? 'no_refresh_token' : null,
      finished_at: choice === undefined ? now : null,
      expires_at: choice === undefined ? consent.connection.expires_at : Math.max(attemptEndsAt, now),
    });
    details.version = stored.current_version;
  });
  return true;
}
