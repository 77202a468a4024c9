// The grants of the sandbox, in memory: tokens by generation, used, reused, expired and ended according to the connector's data. Each
// token is marked as not real, and is the same for the same seed and order of calls. It must never contain a real token.
import { createHash } from 'node:crypto';
import { SignJWT } from 'jose';
import type { OAuthConnector } from '../connector.ts';

export type EndCause = 'revoked' | 'withdrawn' | 'reuse' | 'idle' | 'absolute' | 'cap' | 'code_reuse';

export interface Grant {
  readonly id: string;
  readonly connectorId: string;
  readonly clientId: string;
  /** Grants of one account share caps and, at some providers, their end. */
  readonly account: string;
  readonly parameters: Readonly<Record<string, string>>;
  /** The account fields of the token answer, by Keyturn's names. */
  readonly accountFields: Readonly<Record<string, string>>;
  readonly scope: readonly string[];
  readonly createdAtMs: number;
  usedAtMs: number;
  /** Generation of the newest refresh token; the first is 1. */
  generation: number;
  refreshes: number;
  ended: { readonly atMs: number; readonly cause: EndCause } | undefined;
}

export interface Pair {
  readonly accessToken: string;
  readonly accessExpiresAtMs: number | undefined;
  /** Undefined: the answer contains none. */
  readonly refreshToken: string | undefined;
  readonly refreshExpiresAtMs: number | undefined;
  readonly scope: readonly string[];
}

export type Spent =
  | { readonly outcome: 'issued' | 'replayed'; readonly grant: Grant; readonly generation: number; readonly pair: Pair }
  | { readonly outcome: 'reused' | 'dead'; readonly grant: Grant | undefined; readonly generation: number | undefined };

interface Token {
  readonly grant: Grant;
  readonly type: 'access' | 'refresh';
  readonly generation: number;
  readonly expiresAtMs: number | undefined;
  spentAtMs: number | undefined;
}

export interface NewGrant {
  readonly clientId: string;
  readonly scope: readonly string[];
  readonly account?: string | undefined;
  readonly parameters: Readonly<Record<string, string>>;
}

const JWT_KEY = new TextEncoder().encode('sandbox-signing-key-that-is-not-a-real-secret');

export class PersonaGrants {
  readonly #seed: string;
  readonly #grants = new Map<string, Grant>();
  readonly #tokens = new Map<string, Token>();
  readonly #newest = new Map<string, { refreshToken: string | undefined; pair: Pair }>();
  #made = 0;

  constructor(seed: string) {
    this.#seed = seed;
  }

  /** The next fictitious value, e.g. `code_hubspot-oauth_7_..._not-a-real-secret`. */
  word(kind: string, connectorId: string): string {
    this.#made += 1;
    const chance = createHash('sha256').update(`${this.#seed}\n${this.#made}`).digest('base64url').slice(0, 16);
    return `${kind}_${connectorId}_${this.#made}_${chance}_not-a-real-secret`;
  }

  get count(): number {
    return this.#grants.size;
  }

  all(): Iterable<Grant> {
    return this.#grants.values();
  }

  find(id: string): Grant | undefined {
    return this.#grants.get(id);
  }

  ofToken(token: string): Grant | undefined {
    return this.#tokens.get(token)?.grant;
  }

  generationOf(token: string): number | undefined {
    return this.#tokens.get(token)?.generation;
  }

  /** The newest matching grant of this client, for calls without a token. */
  ofClient(connectorId: string, clientId: string, parameters: Readonly<Record<string, string>>): Grant | undefined {
    return [...this.#grants.values()].findLast(
      (grant) =>
        grant.connectorId === connectorId &&
        grant.clientId === clientId &&
        Object.entries(parameters).every(([name, value]) => (grant.parameters[name] ?? value) === value),
    );
  }

  add(connector: OAuthConnector, wanted: NewGrant, nowMs: number): Grant {
    const number = this.#grants.size + 1;
    const account = wanted.account ?? `account-${number}`;
    this.#enforceCap(connector, wanted.clientId, account, nowMs);
    const grant: Grant = {
      id: `grant-${number}`,
      connectorId: connector.id,
      clientId: wanted.clientId,
      account,
      parameters: wanted.parameters,
      accountFields: accountFieldsOf(connector, account, wanted.parameters),
      scope: wanted.scope,
      createdAtMs: nowMs,
      usedAtMs: nowMs,
      generation: 0,
      refreshes: 0,
      ended: undefined,
    };
    this.#grants.set(grant.id, grant);
    return grant;
  }

  /** Issues an access token, and with `withRefresh` a refresh token. */
  async issue(connector: OAuthConnector, grant: Grant, withRefresh: boolean, nowMs: number): Promise<Pair> {
    const ttl = connector.persona?.accessTokenSeconds ?? connector.oauth2.accessTokenTtlSeconds ?? 3_600;
    const accessExpiresAtMs = ttl === 'never' ? undefined : nowMs + ttl * 1_000;
    const accessToken = await this.#accessToken(connector, grant, accessExpiresAtMs);
    if (withRefresh) grant.generation += 1;
    const { generation } = grant;
    this.#tokens.set(accessToken, {
      grant,
      type: 'access',
      generation,
      expiresAtMs: accessExpiresAtMs,
      spentAtMs: undefined,
    });
    const lives = connector.persona?.refreshTokenSeconds ?? connector.lifetimes?.refreshTokenSeconds;
    const refreshExpiresAtMs = lives === undefined ? undefined : nowMs + lives * 1_000;
    const refreshToken = withRefresh ? this.word('refresh', connector.id) : undefined;
    if (refreshToken !== undefined) {
      this.#tokens.set(refreshToken, {
        grant,
        type: 'refresh',
        generation,
        expiresAtMs: refreshExpiresAtMs,
        spentAtMs: undefined,
      });
    }
    const pair = { accessToken, accessExpiresAtMs, refreshToken, refreshExpiresAtMs, scope: grant.scope };
    this.#newest.set(grant.id, { refreshToken: refreshToken ?? this.#newest.get(grant.id)?.refreshToken, pair });
    grant.usedAtMs = nowMs;
    return pair;
  }

  /** Uses a refresh token once. A used one works in the connector's grace period and ends the family afterwards (RFC 9700 section 4.14.2). */
  async spend(connector: OAuthConnector, refreshToken: string, clientId: string, nowMs: number): Promise<Spent> {
    const token = this.#tokens.get(refreshToken);
    const { grant, generation } = token ?? { grant: undefined, generation: undefined };
    const isOurs = token?.type === 'refresh' && grant?.connectorId === connector.id && grant.clientId === clientId;
    if (!isOurs || !this.isAlive(connector, grant, nowMs)) return { outcome: 'dead', grant, generation };
    if (token.expiresAtMs !== undefined && token.expiresAtMs <= nowMs) return { outcome: 'dead', grant, generation };
    if (token.spentAtMs !== undefined) {
      const graceEndsAtMs = token.spentAtMs + graceSeconds(connector) * 1_000;
      return this.#spendAgain(grant, token.generation, graceEndsAtMs, nowMs);
    }
    grant.refreshes += 1;
    const turns = turnsNow(connector, grant);
    // Marked as used before any await: two concurrent calls must not both rotate the same token.
    if (turns && graceSeconds(connector) !== Number.POSITIVE_INFINITY) token.spentAtMs = nowMs;
    return {
      outcome: 'issued',
      grant,
      generation: token.generation,
      pair: await this.issue(connector, grant, turns, nowMs),
    };
  }

  #spendAgain(grant: Grant, generation: number, graceEndsAtMs: number, nowMs: number): Spent {
    const newest = this.#newest.get(grant.id);
    if (nowMs < graceEndsAtMs && newest !== undefined) return { outcome: 'replayed', grant, generation, pair: newest.pair };
    this.end(grant, 'reuse', nowMs);
    return { outcome: 'reused', grant, generation };
  }

  /** Another system with the same grant refreshes it: the generation increases. */
  async rotateElsewhere(connector: OAuthConnector, grant: Grant, nowMs: number): Promise<void> {
    const held = this.#newest.get(grant.id)?.refreshToken;
    if (held !== undefined) await this.spend(connector, held, grant.clientId, nowMs);
  }

  isAlive(connector: OAuthConnector, grant: Grant, nowMs: number): boolean {
    const { idleSeconds, absoluteSeconds } = connector.lifetimes ?? {};
    if (grant.ended === undefined && idleSeconds !== undefined && nowMs > grant.usedAtMs + idleSeconds * 1_000)
      this.end(grant, 'idle', nowMs);
    if (grant.ended === undefined && absoluteSeconds !== undefined && nowMs > grant.createdAtMs + absoluteSeconds * 1_000)
      this.end(grant, 'absolute', nowMs);
    return grant.ended === undefined;
  }

  /** The expiry of this access token; undefined if it is not valid, null if it does not expire. */
  accessEnds(connector: OAuthConnector, accessToken: string, nowMs: number): number | null | undefined {
    const token = this.#tokens.get(accessToken);
    if (token?.type !== 'access' || token.grant.connectorId !== connector.id) return undefined;
    // An expired grant cannot be refreshed, but an issued access token stays valid until its own expiry.
    if (token.grant.ended !== undefined) return undefined;
    return token.expiresAtMs === undefined ? null : token.expiresAtMs > nowMs ? token.expiresAtMs : undefined;
  }

  end(grant: Grant, cause: EndCause, atMs: number): void {
    grant.ended ??= { atMs, cause };
  }

  #enforceCap(connector: OAuthConnector, clientId: string, account: string, nowMs: number): void {
    const cap = connector.lifetimes?.cap;
    if (cap === undefined) return;
    const alive = [...this.#grants.values()].filter(
      (grant) => grant.connectorId === connector.id && grant.clientId === clientId && grant.account === account && !grant.ended,
    );
    for (const oldest of alive.slice(0, Math.max(0, alive.length + 1 - cap.count))) this.end(oldest, 'cap', nowMs);
  }

  async #accessToken(connector: OAuthConnector, grant: Grant, expiresAtMs: number | undefined): Promise<string> {
    const word = this.word('access', connector.id);
    if (connector.persona?.accessTokenIs !== 'jwt') return word;
    const claims = (connector.scopes ?? []).flatMap((source) =>
      source.from === 'jwt' ? [[source.claim, grant.scope.join(connector.oauth2.scopeSeparator ?? ' ')]] : [],
    );
    return new SignJWT({
      ...Object.fromEntries(claims),
      jti: word,
      sub: grant.account,
      ...(expiresAtMs === undefined ? {} : { exp: Math.floor(expiresAtMs / 1_000) }),
    })
      .setProtectedHeader({ alg: 'HS256' })
      .sign(JWT_KEY);
  }
}

function graceSeconds({ persona, oauth2 }: OAuthConnector): number {
  const lost = oauth2.lostAnswer ?? { kind: 'unsafe' };
  if (persona?.graceSeconds !== undefined) return persona.graceSeconds;
  return lost.kind === 'safe' ? Number.POSITIVE_INFINITY : lost.kind === 'window' ? lost.seconds : 0;
}

/** `sometimes` rotates at every second refresh. */
function turnsNow({ oauth2 }: OAuthConnector, grant: Grant): boolean {
  const rotates = oauth2.refreshTokenRotates ?? 'never';
  return rotates === 'always' || (rotates === 'sometimes' && grant.refreshes % 2 === 0);
}

/** A fictitious value for each account field; for origins, one of the connector's hosts. */
function accountFieldsOf(
  connector: OAuthConnector,
  account: string,
  parameters: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const { oauth2, introspection, revocation, probe, consent } = connector;
  const templates = [oauth2.tokenEndpoint, introspection?.url, revocation?.url, probe?.url, consent?.choice?.url];
  const hosts = oauth2.hosts ?? [];
  const host = (hosts.find((candidate) => candidate.startsWith('*.')) ?? hosts[0] ?? 'account.sandbox.example')
    .replace(/^\*/, account)
    .replaceAll(/\{([a-z0-9_]+)\}/g, (_, name: string) => parameters[name] ?? name);
  return Object.fromEntries(
    Object.keys(oauth2.accountFields ?? {}).map((name) => {
      const isOrigin = templates.some((template) => template?.startsWith(`{account.${name}}`));
      return [name, isOrigin ? `https://${host}` : `${name}-${account}`];
    }),
  );
}
