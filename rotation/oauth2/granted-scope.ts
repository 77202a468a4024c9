// Reads back what a grant may really do, from the best source its connector declares (commitment X2).
// It must never report a scope that no source told: nothing known is undefined, which flags nobody.
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
  /** What the probe said of the token, where it was asked. */
  readonly verdict: Verdict | undefined;
}

/** Whether there is any use in asking this source once more; the token answer is gone. */
export function canTell({ introspection, probe }: ResolvedConnector, { from }: ScopeSource): boolean {
  if (from === 'introspection') return introspection !== undefined;
  return from === 'jwt' || (from !== 'answer' && probe !== undefined);
}

/** Asks the sources from the best on until one tells; resolves for everything that can happen on the way. */
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

/** Read without checking the signature: it tells what to show, never what to trust. */
function claimOf(token: string, claim: string): unknown {
  if (token.split('.').length !== 3) return undefined;
  try {
    return decodeJwt(token)[claim];
  } catch {
    return undefined;
  }
}
