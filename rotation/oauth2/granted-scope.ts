// Reads the granted scopes, from the best source that the connector declares (commitment X2).
// It must never report a scope that no source contains: unknown is undefined, and raises no alert.
import { decodeJwt } from 'jose';
import type { SecretValue } from '../../src/base/secret-value.ts';
import type { ScopeSource, Verdict } from '../connector.ts';
import { memberAt, readScopes } from './answer-body.ts';
import { type Requester, text } from './client-request.ts';
import { introspectToken } from './introspection.ts';
import { askProbe, type Probed } from './probe.ts';
import type { ResolvedConnector } from './settings.ts';

export interface GrantedScope {
  /** Separated by spaces. */
  readonly scope: string;
  readonly source: 'introspection' | 'jwt' | 'probe';
}

export interface ScopeReading {
  readonly granted: GrantedScope | undefined;
  /** The result of the probe, if it was made. */
  readonly verdict: Verdict | undefined;
}

/** Whether this source can be asked again; the token answer cannot. */
export function canTell({ introspection, probe }: ResolvedConnector, { from }: ScopeSource): boolean {
  if (from === 'introspection') return introspection !== undefined;
  return from === 'jwt' || (from !== 'answer' && probe !== undefined);
}

/** Asks the sources in order until one answers; resolves for every outcome. */
export async function readGrantedScopes(
  resolved: ResolvedConnector,
  sources: readonly ScopeSource[],
  accessToken: SecretValue,
  requester: Requester,
): Promise<ScopeReading> {
  const { egress, client } = requester;
  const { scopeSeparator } = resolved.oauth2;
  let probed: Probed | undefined;
  const probe = async (): Promise<Probed | undefined> => {
    if (resolved.probe !== undefined)
      probed ??= await askProbe(resolved.probe, resolved.hosts, accessToken, egress, client.allowLoopback);
    return probed;
  };
  for (const source of sources) {
    const scope = await readFrom(source);
    if (scope !== undefined) return { granted: { scope, source: nameOf(source) }, verdict: probed?.verdict };
  }
  return { granted: undefined, verdict: probed?.verdict };

  async function readFrom(source: ScopeSource): Promise<string | undefined> {
    switch (source.from) {
      case 'answer':
        return undefined;
      case 'introspection':
        return (await introspectToken(resolved, accessToken, requester))?.scope;
      case 'jwt':
        return readScopes(claimOf(text(accessToken), source.claim), scopeSeparator);
      case 'probe_header': {
        const answer = await probe();
        return answer?.verdict === 'works'
          ? readScopes(answer.headers[source.header.toLowerCase()], source.separator)
          : undefined;
      }
      case 'probe_body': {
        const answer = await probe();
        return answer?.verdict === 'works' ? readScopes(memberAt(answer.body, source.path), scopeSeparator) : undefined;
      }
    }
  }
}

function nameOf(source: ScopeSource): GrantedScope['source'] {
  return source.from === 'introspection' || source.from === 'jwt' ? source.from : 'probe';
}

/** The signature is not checked: the result is displayed, never trusted. */
function claimOf(token: string, claim: string): unknown {
  if (token.split('.').length !== 3) return undefined;
  try {
    return decodeJwt(token)[claim];
  } catch {
    return undefined;
  }
}
