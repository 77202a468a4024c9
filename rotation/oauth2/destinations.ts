// Where a resolved connector sends secrets: the exact endpoints, and an egress that lets a request out to no other.
// It must never let a secret leave for an endpoint that the settings it came with do not name (D14).
import { type Egress, EgressFailure } from '../connector.ts';
import type { ResolvedConnector } from './settings.ts';

function endpointsOf({ oauth2, introspection, revocation, probe, consent }: ResolvedConnector): string[] {
  const urls = [oauth2.tokenEndpoint, introspection?.url, revocation?.url, probe?.url, consent?.choice?.url];
  return urls.filter((url) => url !== undefined);
}

/** Origin and path. A request may add a query of its own; undefined for a template that nobody has filled yet. */
function placeOf(text: string): string | undefined {
  const url = URL.parse(text);
  return url === null || text.includes('{') ? undefined : url.origin + url.pathname;
}

/** Where secrets go, and browsers: origin and path of each endpoint, sorted, once each. What is not filled in yet is left out. */
export function destinationsOf(resolved: ResolvedConnector): readonly string[] {
  const urls = [...endpointsOf(resolved), resolved.consent?.authorizeEndpoint ?? ''];
  return [...new Set(urls.flatMap((text) => placeOf(text) ?? []))].sort();
}

/**
 * The way out for the secrets of one version: its own endpoints alone.
 * @throws EgressFailure host_not_allowed, before anything is looked up, from `send`
 */
export function boundEgress(egress: Egress, resolved: ResolvedConnector): Egress {
  const places = new Set(endpointsOf(resolved).map(placeOf));
  return {
    send: async (request) => {
      const place = placeOf(request.url);
      // SECURITY: settings and secrets of two versions once met here, and a stored secret went to a host its giver never named.
      if (place === undefined || !places.has(place)) throw new EgressFailure('host_not_allowed');
      return egress.send(request);
    },
  };
}
