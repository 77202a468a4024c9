// A made-up key connector with declared calls, and a target whose answers the test gives.
import type { EgressAnswer, EgressRequest, KeyConnector, KeySpec, Target } from '../../../rotation/connector.ts';
import { NAME, NOW } from '../key-provider.ts';

export const OLD = { key: 'NotRealOldKey8Rt5Yu2Io9Pa', key_id: 'old-id' };
export const HOST = 'https://api.example.com';
const BEARER = { by: 'headers', headers: { authorization: 'Bearer {admin.key}' } } as const;

export function connectorOf(more: Partial<KeySpec> = {}, calls: Partial<NonNullable<KeySpec['calls']>> = {}): KeyConnector {
  return {
    id: 'made-up',
    title: 'Made up',
    kind: 'key',
    key: {
      credential: 'api_key',
      strategy: 'overlap',
      admin: 'either',
      hosts: ['api.example.com'],
      calls: {
        authentication: BEARER,
        list: { method: 'GET', url: `${HOST}/keys`, items: '/items', id: '/id', name: '/name' },
        mint: {
          method: 'POST',
          url: `${HOST}/keys`,
          json: { name: '{name}' },
          takes: { key: '/key', key_id: '/id' },
          endsAt: '/ends',
        },
        test: {
          method: 'GET',
          url: `${HOST}/me`,
          authentication: { by: 'headers', headers: { authorization: 'Bearer {value.key}' } },
          worksWhen: { at: '/id' },
        },
        revoke: { method: 'DELETE', url: `${HOST}/keys/{value.key_id}` },
        ...calls,
      },
      ...more,
    },
  };
}

export type Answers = (request: EgressRequest, count: number) => EgressAnswer;

export function targetOf(answers: Answers, more: Partial<Target> = {}) {
  const urls: string[] = [];
  const target: Target = {
    ...{ parameters: {}, old: OLD, admin: OLD, name: NAME, allowedHosts: ['api.example.com'], allowLoopback: false },
    egress: {
      send: async (request) => {
        urls.push(`${request.method} ${request.url}`);
        return answers(request, urls.length);
      },
    },
    clock: { now: () => NOW },
    entropy: { bytes: (count) => new Uint8Array(count), fraction: () => 0.5 },
    ...more,
  };
  return { target, urls };
}
