// GitLab group access tokens: a second token with the scopes and the role of the old one, made with a token of a maintainer.
// GitLab ends every token after a year at most.
import type { KeyConnector } from '../connector.ts';

const DOCS = 'https://docs.gitlab.com/api/group_access_tokens/, read 2026-11';

export const connector: KeyConnector = {
  id: 'gitlab-group-token',
  title: 'GitLab (group access token)',
  kind: 'key',
  parameters: [
    { name: 'host', title: 'The host of GitLab', shape: 'host', default: 'gitlab.com' },
    { name: 'group_id', title: 'Id of the group, a number', shape: 'label' },
  ],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'credential',
    hosts: ['{host}'],
    calls: {
      authentication: { by: 'headers', headers: { 'private-token': '{admin.key}' } },
      inspect: {
        method: 'GET',
        url: 'https://{parameters.host}/api/v4/groups/{parameters.group_id}/access_tokens/{old.key_id}',
        takes: { scopes: '/scopes', access_level: '/access_level' },
      },
      list: {
        method: 'GET',
        url: 'https://{parameters.host}/api/v4/groups/{parameters.group_id}/access_tokens?state=active&per_page=100',
        items: '',
        id: '/id',
        name: '/name',
        pages: { by: 'number', parameter: 'page', first: 1, size: 100 },
      },
      mint: {
        method: 'POST',
        url: 'https://{parameters.host}/api/v4/groups/{parameters.group_id}/access_tokens',
        json: {
          name: '{name}',
          scopes: '{copied.scopes}',
          access_level: '{copied.access_level}',
          expires_at: '{ends.date}',
        },
        takes: { key: '/token', key_id: '/id' },
        endsAt: '/expires_at',
      },
      test: {
        method: 'GET',
        url: 'https://{parameters.host}/api/v4/personal_access_tokens/self',
        authentication: { by: 'headers', headers: { 'private-token': '{value.key}' } },
        worksWhen: { at: '/active', is: 'true' },
      },
      revoke: {
        method: 'DELETE',
        url: 'https://{parameters.host}/api/v4/groups/{parameters.group_id}/access_tokens/{value.key_id}',
      },
      lifetime: { defaultDays: 90, maxDays: 365 },
    },
  },
  manualSteps: [
    'Put the token with its id as key_id. The list of tokens of the group shows the id.',
    'The admin credential is of kind api_key: a token with the scope api of a owner of the group.',
  ],
  facts: {
    'key.calls.mint': {
      sureness: 'documented',
      source: `${DOCS}: name, scopes, access_level and expires_at; token is in the answer once`,
    },
    'key.calls.inspect': { sureness: 'documented', source: `${DOCS}: scopes and access_level` },
    'key.calls.list': { sureness: 'documented', source: `${DOCS}: state, page and per_page` },
    'key.calls.revoke': { sureness: 'documented', source: `${DOCS}: 204, 404 for a token that does not exist` },
    'key.calls.test': {
      sureness: 'documented',
      source:
        'https://docs.gitlab.com/api/personal_access_tokens/: self with any scope, read 2026-11; that it answers for such a token, too, is known',
    },
    'key.calls.lifetime': {
      sureness: 'documented',
      source: `${DOCS}: expires_at is required; a year at most unless the instance allows more`,
    },
    'key.keysMaxCount': { sureness: 'unknown', source: 'no cap of tokens is published in the pages read' },
    'key.rateBudget': { sureness: 'unknown', source: 'limits depend on the instance' },
  },
};
