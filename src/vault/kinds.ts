// Every kind of credential with its behaviour. A missing kind is a compile error.
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

/** @param kind from the row of a credential */
export function rulesOfKind(kind: string): CredentialKind {
  return KINDS[kind as Kind] ?? fail('internal', 'this build does not support the kind of a stored credential');
}
