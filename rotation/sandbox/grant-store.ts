// The in-memory store of the sandbox provider: sessions, codes, grants, tokens. oidc-provider's own memory store is limited to a
// thousand entries; a load test has more grants.
import type { AdapterFactory, AdapterPayload } from 'oidc-provider';

interface Entry {
  payload: AdapterPayload;
  readonly endsAtMs: number;
}

/** One store per sandbox. @param now milliseconds since 1970 */
export function createGrantStore(now: () => number): AdapterFactory {
  const entries = new Map<string, Entry>();
  const byGrant = new Map<string, Set<string>>();
  const find = (key: string): AdapterPayload | undefined => {
    const entry = entries.get(key);
    if (entry !== undefined && entry.endsAtMs <= now()) entries.delete(key);
    return entries.get(key)?.payload;
  };

  return (model) => ({
    async upsert(id, payload, expiresInSeconds) {
      const key = `${model}:${id}`;
      entries.set(key, {
        payload,
        endsAtMs: expiresInSeconds === undefined ? Number.POSITIVE_INFINITY : now() + expiresInSeconds * 1_000,
      });
      if (payload.grantId === undefined) return;
      const members = byGrant.get(payload.grantId) ?? new Set();
      byGrant.set(payload.grantId, members.add(key));
    },
    async find(id) {
      return find(`${model}:${id}`);
    },
    async findByUid(uid) {
      return [...entries].find(([key, { payload }]) => key.startsWith(`${model}:`) && payload.uid === uid)?.[1].payload;
    },
    async findByUserCode() {
      return undefined; // no device flow here
    },
    async consume(id) {
      const payload = find(`${model}:${id}`);
      if (payload !== undefined) payload.consumed = Math.floor(now() / 1_000);
    },
    async destroy(id) {
      entries.delete(`${model}:${id}`);
    },
    async revokeByGrantId(grantId) {
      for (const key of byGrant.get(grantId) ?? []) entries.delete(key);
      byGrant.delete(grantId);
    },
  });
}
