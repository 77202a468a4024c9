// For grants that cover several accounts: the choice is made after the grant is stored; a single one is selected automatically.
// It must never lose the grant because of the choice, nor use values of a provider's list without checks.
import type { Caller } from '../../../src/access/principals.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import type { Lookup, WriteAccess } from '../../../src/cell/access.ts';
import { changeCredential } from '../../../src/vault/credential.ts';
import { changeHealth } from '../../../src/vault/grant-health.ts';
import type { TenantJob, TenantView } from '../../../src/vault/tenant-job.ts';
import { type ChoiceSpec, type EgressAnswer, findConnector } from '../../connector.ts';
import type { JobPorts } from '../../engine/due-work.ts';
import { memberAt } from '../../oauth2/answer-body.ts';
import { text } from '../../oauth2/client-request.ts';
import { type BoundGrant, openGrant, wipeTokens } from '../grant-tokens.ts';
import { endConnection } from './make-link.ts';
import {
  type Choice,
  type Consent,
  type ConsentPorts,
  consentOf,
  enterConsent,
  factsOf,
  recordRefusal,
  type Visitor,
} from './request.ts';
import { storeChosen } from './store-grant.ts';
import { type BrowserOf, findByLink, isSameBrowser } from './visit.ts';

type Choices = readonly [Choice, ...Choice[]];

const CHOICES_MAX_COUNT = 100;
const LABEL_MAX_CHARS = 200;

/** Fetches and stores the choices for the page. `connected` if no choice is needed. */
export async function offerChoices(ports: ConsentPorts, caller: Caller, connectionId: string): Promise<'connected' | 'choosing'> {
  const { vault } = ports;
  const grant = await vault.submit((job) => {
    const consent = job.door.lookup('consent', (lookup) => reread(job, lookup, connectionId));
    if (consent === undefined || consent.connection.state !== 'choosing') return undefined;
    return openForChoices({ ...ports, job }, caller, consent);
  });
  if (grant === undefined) return 'connected';
  if (grant === 'unusable') return 'choosing';
  const { choice } = grant.resolved.consent ?? {};
  if (choice === undefined) return 'choosing';
  const choices = await fetchChoices(grant, choice).finally(() => wipeTokens(grant.tokens));
  if (choices === undefined) return 'choosing';
  return vault.submit((job) => {
    const now = job.door.lookup('consent', (lookup) => reread(job, lookup, connectionId));
    if (now === undefined || now.connection.state !== 'choosing') return 'connected';
    if (choices.length === 1) return choose(job, caller, now, choice, choices[0].id);
    enterConsent(job, caller, now, 'choices', (access, details) => {
      details.count = choices.length;
      job.connections.save(access, { ...factsOf(now.connection), request: JSON.stringify({ ...now.request, choices }) });
    });
    return 'choosing';
  });
}

export type Chosen = { readonly kind: 'connected' | 'choosing' | 'nowhere' };

/** Stores the person's choice; without one the list is fetched again. Only the browser that consented may choose. */
export async function chooseAccount(
  ports: ConsentPorts,
  visitor: Visitor,
  link: string,
  browserOf: BrowserOf,
  id: string | undefined,
): Promise<Chosen> {
  const { vault } = ports;
  const { caller } = visitor;
  const chosen = await vault.submit((job) => {
    const consent = job.door.lookup('consent', (lookup) => findByLink(job, lookup, link));
    if (consent === undefined) return undefined;
    if (consent.connection.state !== 'choosing' || !isSameBrowser(consent, browserOf(consent.connection.id))) {
      return { refused: consent };
    }
    const { choice } = findConnector(ports.connectors, 'oauth2', consent.located.row.connector)?.consent ?? {};
    const offered = consent.request.choices?.find((candidate) => candidate.id === id);
    if (choice !== undefined && offered !== undefined) return choose(job, caller, consent, choice, offered.id);
    return { consent };
  });
  if (chosen === undefined) return { kind: 'nowhere' };
  if (chosen === 'connected') return { kind: 'connected' };
  if ('refused' in chosen) {
    await recordRefusal(vault, visitor, chosen.refused, 'not_choosing');
    return { kind: 'nowhere' };
  }
  if (id !== undefined) return { kind: 'choosing' };
  return { kind: await offerChoices(ports, caller, chosen.consent.connection.id) };
}

function choose(job: TenantJob, caller: Caller, consent: Consent, choice: ChoiceSpec, id: string): 'connected' {
  return enterConsent(job, caller, consent, 'chosen', (access, details) => {
    storeChosen(job, access, consent, { field: choice.accountField, id }, details);
    const now = job.platform.clock.now();
    job.connections.save(access, { ...factsOf(consent.connection), state: 'connected', finished_at: now });
    return 'connected';
  });
}

/** Ends expired links and grants without a choice; returns how many. The error of a damaged row is thrown after all were processed. */
export async function expireConnectionsDue(ports: ConsentPorts): Promise<number> {
  const { vault } = ports;
  const now = vault.platform.clock.now();
  const ids = vault.lookup('scheduler', (lookup, view) => view.connections.dueForExpiry(lookup, now, LIMITS.dueWorkBatchRows));
  const ends = await Promise.allSettled(ids.map((id) => vault.submit((job) => expire(job, id, now))));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  return ids.length;
}

function expire(job: TenantJob, id: string, now: number): void {
  const found = job.door.lookup('scheduler', (lookup) => {
    const connection = job.connections.find(lookup, id);
    return connection === undefined ? undefined : { connection, consent: consentOf(job, lookup, connection) };
  });
  if (found === undefined || found.connection.expires_at > now) return;
  const { connection, consent } = found;
  if (consent === undefined) {
    // The credential no longer exists, so the door cannot authorize an operation on it; only the row is closed.
    const event = {
      action: 'connection.complete',
      actor: { type: 'system', id: 'consent' },
      reason: 'credential removed',
      request: connection.id,
      target: { type: 'connection', id: connection.id },
    } as const;
    job.door.record(event, (access) => endConnection(job, access, connection, 'expired', 'credential_removed'));
    return;
  }
  enterConsent(job, undefined, consent, 'expired', (access) => {
    if (connection.state === 'choosing') leaveUnchosen(job, access, consent);
    else endConnection(job, access, connection, 'expired', connection.state === 'exchanging' ? 'answer_lost' : null);
  });
}

function leaveUnchosen(job: TenantJob, access: WriteAccess, { connection, located }: Consent): void {
  if (located.row.health === 'ready') {
    changeCredential(job, access, located, (draft) => {
      changeHealth({ job, access, draft, environment: located.environment }, 'degraded', 'account_not_chosen');
    });
  }
  job.connections.save(access, {
    ...factsOf(connection),
    state: 'connected',
    cause: 'account_not_chosen',
    finished_at: job.platform.clock.now(),
  });
  job.dueChanged();
}

/** Opens the token for the request of the list; an event records it. */
function openForChoices(ports: JobPorts, caller: Caller, consent: Consent): BoundGrant | 'unusable' {
  const { row } = consent.located;
  return enterConsent(ports.job, caller, consent, 'choices_asked', (access, details) => {
    const opened = openGrant(ports, access, row, row.current_version);
    if (opened.kind === 'unusable') return 'unusable';
    Object.assign(details, opened.grant.moved);
    return opened.grant;
  });
}

function reread(view: TenantView, lookup: Lookup, id: string): Consent | undefined {
  const connection = view.connections.find(lookup, id);
  return connection === undefined ? undefined : consentOf(view, lookup, connection);
}

/** Undefined if the provider returns no readable list: the choice stays open, the grant is kept. */
async function fetchChoices({ tokens, resolved, egress }: BoundGrant, choice: ChoiceSpec): Promise<Choices | undefined> {
  const { accessToken, client } = tokens;
  const host = URL.parse(choice.url)?.host;
  if (host === undefined || accessToken === undefined) return undefined;
  const authorization = SecretValue.fromText(`Bearer ${text(accessToken)}`);
  let answer: EgressAnswer;
  try {
    answer = await egress.send({
      url: choice.url,
      method: 'GET',
      headers: { accept: 'application/json', authorization },
      allowedHosts: resolved.hosts.length > 0 ? resolved.hosts : [host],
      timeoutMs: LIMITS.providerTimeoutMs,
      maxBytes: LIMITS.providerAnswerMaxBytes,
      allowLoopback: client.allowLoopback,
    });
  } catch {
    return undefined;
  } finally {
    authorization.wipe();
  }
  return answer.status === 200 ? readChoices(answer, choice) : undefined;
}

function readChoices(answer: EgressAnswer, choice: ChoiceSpec): Choices | undefined {
  try {
    const body: unknown = JSON.parse(answer.body.reveal((bytes) => new TextDecoder().decode(bytes)));
    const list = choice.items === '' ? body : memberAt(body, choice.items);
    if (!Array.isArray(list)) return undefined;
    const [first, ...others] = list.slice(0, CHOICES_MAX_COUNT).flatMap((item): Choice[] => {
      const id = plain(memberAt(item, choice.idField), LIMITS.accountValueMaxChars);
      const label = plain(memberAt(item, choice.labelField), LABEL_MAX_CHARS);
      return id === undefined ? [] : [{ id, label: label ?? id }];
    });
    return first === undefined ? undefined : [first, ...others];
  } catch {
    return undefined;
  }
}

// SECURITY: displayed on a page and inserted into URLs, so control and format characters of a provider are rejected.
function plain(value: unknown, maxChars: number): string | undefined {
  const written = typeof value === 'number' && Number.isFinite(value) ? String(value) : value;
  if (typeof written !== 'string' || written === '' || written.length > maxChars) return undefined;
  return /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/u.test(written) ? undefined : written;
}
