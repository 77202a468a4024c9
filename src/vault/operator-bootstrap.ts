// A bootstrap secret set by the operator, for platforms that cannot show a generated one (a Worker has no console and no file). It replaces
// the bootstrap token until that token is used. It must never work afterwards.
import type { UserIdentity } from '../access/principals.ts';
import { sha256 } from '../crypto/primitives.ts';
import { equalBytes } from '../crypto/token.ts';
import type { HomeVault } from './home-vault.ts';

/** With the type prefix, the edge treats it as a user token; 32 random characters have at least 160 bits. */
const SECRET = /^kt_boot_[A-Za-z0-9_-]{32,256}$/;

/** Whether the operator's secret has the required form. */
function isBootstrapSecret(text: string): boolean {
  return SECRET.test(text);
}

/** The bootstrap owner, if `presented` is the operator's secret and the bootstrap token is unused; else undefined. */
export function identifyOperator(home: HomeVault, presented: string, secret: string | undefined): UserIdentity | undefined {
  if (secret === undefined || !isBootstrapSecret(secret) || !equalTexts(presented, secret)) return undefined;
  return home.lookup('authentication', (lookup, view) => {
    const now = home.platform.clock.now();
    const owner = view.users.list(lookup, '', 500).find((user) => user.row.bootstrap === 1 && user.row.offboarded_at === null);
    const facts = owner === undefined ? [] : view.core.tokens.listBySubject(lookup, owner.row.id);
    const token = facts.find((row) => row.type === 'boot' && row.revoked_at === null && row.expires_at > now);
    if (owner === undefined || token === undefined) return undefined;
    const { id, name, revision } = owner.row;
    const grants = [{ role: 'owner' as const, tenantId: '*' }];
    return { id, name, revision, bootstrap: true, grants, tokenId: token.public_id };
  });
}

// SECURITY: compares digests of equal length in constant time, so timing reveals no prefix of the secret (LK-10).
function equalTexts(a: string, b: string): boolean {
  const encoder = new TextEncoder();
  return equalBytes(sha256(encoder.encode(a)), sha256(encoder.encode(b)));
}
