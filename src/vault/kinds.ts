// Every kind of credential with what the vault does with it. A kind that is missing here does not compile.
import { fail } from '../base/errors.ts';
import type { Kind } from './credential-kinds.ts';
import type { CredentialKind } from './kind.ts';
import { oauthGrant } from './kinds/oauth-grant.ts';
import { plainValue } from './kinds/plain-value.ts';

const KINDS: Readonly<Record<Kind, CredentialKind>> = {
  oauth2: oauthGrant,
  api_key: plainValue,
  basic: plainValue,
  database: plainValue,
  json: plainValue,
};

/** @param kind as its row has it */
export function rulesOfKind(kind: string): CredentialKind {
  return KINDS[kind as Kind] ?? fail('internal', 'a credential has a kind that this build does not know');
}
