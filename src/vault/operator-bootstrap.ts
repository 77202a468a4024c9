// Where the first start can show nobody a secret (a Worker has no console and no file), the operator brings one: it stands for the
// bootstrap token until that is spent. It must never work again afterwards, however often it is presented.
import type { UserIdentity } from '../access/principals.ts';
import { sha256 } from '../crypto/primitives.ts';
import { equalBytes } from '../crypto/token.ts';
import type { HomeVault } from './home-vault.ts';

/** The type prefix lets the edge see a user token in it; 32 characters are at least 160 bits when drawn at random. */
const SECRET = /^kt_boot_[A-Za-z0-9_-]{32,256}$/;

/** Whether the operator's choice may serve as a bootstrap secret at all. */
function isBootstrapSecret(text: string): boolean {
  return SECRET.test(text);
}

/** The bootstrap owner, for whoever presents the operator's secret while the bootstrap token is unspent; else undefined. */
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

// SECURITY: digests of equal length, compared in constant time: no prefix of the secret can be felt out (LK-10).
function equalTexts(a: string, b: string): boolean {
  const encoder = new TextEncoder();
  return equalBytes(sha256(encoder.encode(a)), sha256(encoder.encode(b)));
}
