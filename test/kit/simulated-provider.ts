// Token endpoints in memory, one for each way a provider treats a refresh token that is used again. Their time never jumps.
// Nothing here knows the vault: what is said about lost grants is said from this side.

/**
 * `fixed`: the refresh token never changes. `safe`: every answer brings another, all of them go on working. `window`: single use, but
 * for so many seconds after its first use it works again; `narrow` is one that no crash can be mended in. `unsafe`: single use, and a second use kills the whole family (RFC 9700 4.14.2).
 */
export const PROVIDER_KINDS = ['fixed', 'safe', 'window', 'narrow', 'unsafe'] as const;
export type ProviderKind = (typeof PROVIDER_KINDS)[number];

/** Seconds; undefined where a token works for ever. */
export const REUSE_SECONDS: Readonly<Record<ProviderKind, number | undefined>> = {
  fixed: undefined,
  safe: undefined,
  window: 600,
  narrow: 30,
  unsafe: 0,
};

export interface Family {
  readonly id: number;
  readonly kind: ProviderKind;
  alive: boolean;
  /** Answers given with a token in them. */
  answers: number;
  /** Why it died, for the message of a failed check. */
  death: string;
}

export interface IssuedGrant {
  readonly family: Family;
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly expiresInSeconds: number;
}

export interface ProviderAnswer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

interface RefreshToken {
  readonly family: Family;
  firstUsedAtMs: number | undefined;
}

interface AccessToken {
  readonly family: Family;
  readonly expiresAtMs: number;
}

export class SimulatedProvider {
  readonly #now: () => number;
  readonly #ttlSeconds: () => number;
  readonly #refreshTokens = new Map<string, RefreshToken>();
  readonly #accessTokens = new Map<string, AccessToken>();
  readonly #families: Family[] = [];
  #tokens = 0;

  /** @param now the provider's own time in milliseconds */
  constructor(now: () => number, ttlSeconds: () => number) {
    this.#now = now;
    this.#ttlSeconds = ttlSeconds;
  }

  /** A person consents: a new family. */
  issue(kind: ProviderKind): IssuedGrant {
    const family: Family = { id: this.#families.length, kind, alive: true, answers: 0, death: '' };
    this.#families.push(family);
    const expiresInSeconds = this.#ttlSeconds();
    return {
      family,
      expiresInSeconds,
      accessToken: this.#newAccessToken(family, expiresInSeconds),
      refreshToken: this.#newRefreshToken(family),
    };
  }

  /** What a refresh does and answers. */
  refresh(refreshToken: string): ProviderAnswer {
    const token = this.#refreshTokens.get(refreshToken);
    if (token === undefined || !token.family.alive) return REFUSED;
    const { family } = token;
    const sinceFirstUseMs = token.firstUsedAtMs === undefined ? undefined : this.#now() - token.firstUsedAtMs;
    const reuseSeconds = REUSE_SECONDS[family.kind];
    if (sinceFirstUseMs !== undefined && reuseSeconds !== undefined && sinceFirstUseMs >= reuseSeconds * 1_000) {
      family.alive = false;
      family.death = `its token was used again after ${Math.round(sinceFirstUseMs / 1_000)} s`;
      return REFUSED;
    }
    token.firstUsedAtMs ??= this.#now();
    family.answers += 1;
    const ttl = this.#ttlSeconds();
    const body = { access_token: this.#newAccessToken(family, ttl), token_type: 'Bearer', expires_in: ttl };
    return { status: 200, body: family.kind === 'fixed' ? body : { ...body, refresh_token: this.#newRefreshToken(family) } };
  }

  /** Whether an API of the provider would accept it now. */
  honours(accessToken: string): boolean {
    const token = this.#accessTokens.get(accessToken);
    return token?.family.alive === true && token.expiresAtMs > this.#now();
  }

  familyOf(accessToken: string): Family | undefined {
    return this.#accessTokens.get(accessToken)?.family;
  }

  familyNumbered(id: number): Family {
    return this.#families[id] ?? missing();
  }

  #newAccessToken(family: Family, ttlSeconds: number): string {
    const text = `access-${family.id}-${++this.#tokens}-not-a-real-secret`;
    this.#accessTokens.set(text, { family, expiresAtMs: this.#now() + ttlSeconds * 1_000 });
    return text;
  }

  #newRefreshToken(family: Family): string {
    const text = `refresh-${family.id}-${++this.#tokens}-not-a-real-secret`;
    this.#refreshTokens.set(text, { family, firstUsedAtMs: undefined });
    return text;
  }
}

function missing(): never {
  throw new Error('no such family');
}

const REFUSED: ProviderAnswer = { status: 400, body: { error: 'invalid_grant' } };
