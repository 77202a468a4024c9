// Turns a connector's data and one credential's settings into the exact spec of a refresh.
// It must never let a setting widen what the connector declares unless the connector says so.
import { fail } from '../src/base/errors.ts';
import type { Connector, OAuth2Spec, Parameter } from './connector.ts';

export interface OAuth2Settings {
  readonly parameters?: Readonly<Record<string, string>>;
  /** Only fields the connector lists as adjustable. */
  readonly adjust?: Partial<OAuth2Spec>;
}

const LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62})$/;
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?::[0-9]{1,5})?$/;

/**
 * The spec with every `{parameter}` filled in. A token endpoint set by the credential replaces the connector's hosts with its own.
 * @throws invalid_request naming the setting | not_rotatable when the connector has no `oauth2`
 */
export function settleOAuth2(connector: Connector, settings: OAuth2Settings = {}): OAuth2Spec {
  const declared = connector.oauth2 ?? fail('not_rotatable', 'this connector cannot refresh a grant');
  const adjust = settings.adjust ?? {};
  for (const field of Object.keys(adjust)) {
    if (!connector.adjustable?.includes(field as keyof OAuth2Spec)) {
      fail('invalid_request', 'this connector does not let a credential set the field', { pointer: '/oauth2' });
    }
  }
  const values = parameterValues(connector.parameters ?? [], settings.parameters ?? {});
  const tokenEndpoint = fill(adjust.tokenEndpoint ?? declared.tokenEndpoint, values);
  const url = URL.parse(tokenEndpoint);
  if (url === null) fail('invalid_request', 'must be an absolute URL', { pointer: '/oauth2/token_endpoint' });
  const hosts = adjust.tokenEndpoint === undefined ? declared.hosts.map((host) => fill(host, values)) : [url.host];
  return { ...declared, ...adjust, tokenEndpoint, hosts };
}

function parameterValues(parameters: readonly Parameter[], given: Readonly<Record<string, string>>): ReadonlyMap<string, string> {
  for (const name of Object.keys(given)) {
    if (!parameters.some((parameter) => parameter.name === name)) {
      fail('invalid_request', 'this connector has no such parameter', { pointer: '/parameters' });
    }
  }
  return new Map(
    parameters.map(({ name, shape, default: fallback }) => {
      const value = Object.hasOwn(given, name) ? given[name] : fallback;
      // SECURITY: a value such as `evil.example/#` would move the whole URL to another host.
      if (value === undefined || !(shape === 'label' ? LABEL : HOST).test(value)) {
        fail('invalid_request', `must be a ${shape}`, { pointer: `/parameters/${name}` });
      }
      return [name, value] as const;
    }),
  );
}

function fill(template: string, values: ReadonlyMap<string, string>): string {
  return template.replaceAll(
    /\{([a-z0-9_]+)\}/g,
    (_, name: string) => values.get(name) ?? fail('internal', `undeclared parameter ${name}`),
  );
}
