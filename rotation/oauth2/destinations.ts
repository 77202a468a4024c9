// The endpoints to which a resolved connector sends secrets, and an egress that allows no others.
// It must never allow a secret to be sent to an endpoint that is not in the settings sealed with it (D14).
import { type Egress, EgressFailure } from '../connector.ts';
import type { ResolvedConnector } from './settings.ts';

function endpointsOf({ oauth2, introspection, revocation, probe, consent }: ResolvedConnector): string[] {
  const urls = [oauth2.tokenEndpoint, introspection?.url, revocation?.url, probe?.url, consent?.choice?.url];
  return urls.filter((url) => url !== undefined);
}

/** Origin and path; a request may add a query. Undefined for a template that is not filled in yet. */
function placeOf(text: string): string | undefined {
  const url = URL.parse(text);
  return url === null || text.includes('{') ? undefined : url.origin + url.pathname;
}

/** Origin and path of each endpoint for secrets and browsers, sorted and unique. Omits templates that are not filled in yet. */
export function destinationsOf(resolved: ResolvedConnector): readonly string[] {
  const urls = [...endpointsOf(resolved), resolved.consent?.authorizeEndpoint ?? '', ...resolved.movedPlaces];
  return [...new Set(urls.flatMap((text) => placeOf(text) ?? []))].sort();
}

/**
 * The egress for the secrets of one version: only its own endpoints.
 * @throws EgressFailure host_not_allowed, before anything is looked up, from `send`
 */
export function boundEgress(egress: Egress, resolved: ResolvedConnector): Egress {
  const places = new Set(endpointsOf(resolved).map(placeOf));
  return {
    send: async (request) => {
      const place = placeOf(request.url);
      // SECURITY: prevents that settings of one version send secrets of another to a host for which they were not given.
      if (place === undefined || !places.has(place)) throw new EgressFailure('host_not_allowed');
      return egress.send(request);
    },
  };
}
