// GitLab personal access tokens: a token replaces itself, and the old one is refused from then on. A lost answer loses the token, and
// GitLab ends a family of tokens of which a replaced one is used again. Use a project or group token where possible.
import type { KeyConnector } from '../connector.ts';

const DOCS = 'https://docs.gitlab.com/api/personal_access_tokens/, read 2026-11';

export const connector: KeyConnector = {
  id: 'gitlab-personal-token',
  title: 'GitLab (personal access token)',
  kind: 'key',
  parameters: [{ name: 'host', title: 'The host of GitLab', shape: 'host', default: 'gitlab.com' }],
  key: {
    credential: 'api_key',
    strategy: 'in_place',
    admin: 'self',
    hosts: ['{host}'],
    calls: {
      authentication: { by: 'headers', headers: { 'private-token': '{admin.key}' } },
      mint: {
        method: 'POST',
        url: 'https://{parameters.host}/api/v4/personal_access_tokens/self/rotate',
        json: { expires_at: '{ends.date}' },
        takes: { key: '/token', key_id: '/id' },
        endsAt: '/expires_at',
      },
      test: {
        method: 'GET',
        url: 'https://{parameters.host}/api/v4/personal_access_tokens/self',
        authentication: { by: 'headers', headers: { 'private-token': '{value.key}' } },
        worksWhen: { at: '/active', is: 'true' },
      },
      lifetime: { defaultDays: 90, maxDays: 365 },
    },
  },
  manualSteps: [
    'The token needs the scope api or self_rotate.',
    'If both tokens are refused after a rotation, make a new token in GitLab (Preferences > Access tokens) and put it.',
  ],
  facts: {
    'key.strategy': {
      sureness: 'documented',
      source: `${DOCS}: rotation revokes the old token at once; its reuse revokes the new one`,
    },
    'key.calls.mint': { sureness: 'documented', source: `${DOCS}: self/rotate with expires_at; token is in the answer once` },
    'key.calls.inspect': { sureness: 'documented', source: `${DOCS}: scopes stay the same` },
    'key.calls.list': {
      sureness: 'documented',
      source: `${DOCS}: the new token keeps the name of the old one, so it cannot be found by a run`,
    },
    'key.calls.revoke': { sureness: 'documented', source: `${DOCS}: the rotation revokes the old token` },
    'key.calls.test': { sureness: 'documented', source: `${DOCS}: self with any scope` },
    'key.calls.lifetime': {
      sureness: 'documented',
      source: `${DOCS}: a week if expires_at is absent, a year at most unless the instance allows more`,
    },
    'key.keysMaxCount': { sureness: 'documented', source: `${DOCS}: a rotation does not change the number of tokens` },
    'key.rateBudget': { sureness: 'unknown', source: 'limits depend on the instance' },
  },
};
