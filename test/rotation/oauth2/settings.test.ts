import { describe, expect, it } from 'vitest';
import type { Connector } from '../../../rotation/connector.ts';
import { connector as generic } from '../../../rotation/connectors/generic-oauth2.ts';
import { resolveConnector, resolveOAuth2 } from '../../../rotation/oauth2/settings.ts';
import { GENERIC } from '../kit.ts';

const crm: Connector = {
  id: 'crm',
  title: 'CRM',
  kind: 'oauth2',
  parameters: [
    { name: 'domain', title: 'My domain', shape: 'label' },
    { name: 'host', title: 'Host', shape: 'host', default: 'login.crm.example' },
  ],
  oauth2: { ...GENERIC, tokenEndpoint: 'https://{domain}.my.crm.example/token', hosts: ['{domain}.my.crm.example', '{host}'] },
  adjustable: ['tokenEndpoint', 'lostAnswer'],
};

describe('the settings of a credential', () => {
  it('fill the parameters of URLs and hosts', () => {
    expect(resolveOAuth2(crm, { parameters: { domain: 'acme' } })).toMatchObject({
      tokenEndpoint: 'https://acme.my.crm.example/token',
      hosts: ['acme.my.crm.example', 'login.crm.example'],
    });
  });

  it.each(['evil.example/', 'evil.example#', 'a.b', '', '@x', 'a b', 'a%2fb', '../x', 'a'.repeat(64), '-a'])(
    'cannot smuggle %j into a host',
    (domain) => {
      expect(() => resolveOAuth2(crm, { parameters: { domain } })).toThrowError(
        expect.objectContaining({ code: 'invalid_request', pointer: '/config/parameters/domain' }),
      );
    },
  );

  it.each(['evil.example/x', 'a:b@evil.example', 'host:123456', 'a..b', 'https://x'])(
    'cannot smuggle %j in as a whole host',
    (host) => {
      expect(() => resolveOAuth2(crm, { parameters: { domain: 'acme', host } })).toThrowError(
        expect.objectContaining({ pointer: '/config/parameters/host' }),
      );
    },
  );

  it('must give what has no default and nothing unheard of', () => {
    expect(() => resolveOAuth2(crm)).toThrowError(expect.objectContaining({ pointer: '/config/parameters/domain' }));
    expect(() => resolveOAuth2(crm, { parameters: { domain: 'acme', constructor: 'x' } })).toThrowError(
      expect.objectContaining({ code: 'invalid_request' }),
    );
  });

  it('may leave out what only the page of a link needs, and nothing that a refresh needs', () => {
    const consent = { authorizeEndpoint: 'https://crm.example/authorize?subdomain={slug}', pkce: 'S256' } as const;
    const slug = { name: 'slug', title: 'Address', shape: 'label', from: 'consent' } as const;
    const imported: Connector = { ...crm, parameters: [slug], oauth2: GENERIC, consent };
    expect(resolveOAuth2(imported).tokenEndpoint).toBe(resolveOAuth2(imported, { parameters: { slug: 'acme' } }).tokenEndpoint);
    const refreshes: Connector = { ...imported, oauth2: { ...GENERIC, tokenEndpoint: 'https://{slug}.crm.example/token' } };
    expect(() => resolveOAuth2(refreshes)).toThrowError(expect.objectContaining({ pointer: '/config/parameters/slug' }));
  });

  it('may replace only what the connector lists, and another endpoint is another host', () => {
    const resolved = resolveOAuth2(crm, {
      parameters: { domain: 'acme' },
      adjust: { tokenEndpoint: 'https://eu.crm.example:8443/token' },
    });
    expect(resolved.hosts).toEqual(['eu.crm.example:8443']);
    expect(() => resolveOAuth2(crm, { parameters: { domain: 'acme' }, adjust: { hosts: ['*.example'] } })).toThrowError(
      expect.objectContaining({ code: 'invalid_request' }),
    );
  });

  it('are all there is for the generic connector, which cannot do without an endpoint', () => {
    expect(() => resolveOAuth2(generic)).toThrowError(expect.objectContaining({ pointer: '/config/token_endpoint' }));
    const resolved = resolveOAuth2(generic, { adjust: { tokenEndpoint: 'https://id.example/token', bodyFormat: 'json' } });
    expect(resolved).toMatchObject({ hosts: ['id.example'], bodyFormat: 'json', lostAnswer: { kind: 'unsafe' } });
  });

  it.each(['client_secret_post', 'private_key_jwt', 'none'] as const)(
    'let the client prove itself at their own endpoints as at the token endpoint (%s)',
    (clientAuthentication) => {
      const endpoints = {
        revocationEndpoint: 'https://id.example/revoke',
        introspectionEndpoint: 'https://id.example/introspect',
      };
      const resolved = resolveConnector(generic, {
        adjust: { tokenEndpoint: 'https://id.example/token', clientAuthentication },
        ...endpoints,
      });
      const asClient = { authentication: clientAuthentication, assertionAudience: 'https://id.example/token' };
      expect(resolved.revocation).toMatchObject(asClient);
      expect(resolved.introspection).toMatchObject(asClient);
    },
  );
});
