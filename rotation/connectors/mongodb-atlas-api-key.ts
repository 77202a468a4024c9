// MongoDB Atlas: the API key of an organization, used with HTTP Digest. Both halves change. Only roles of the organization are copied:
// Atlas refuses a new key with the roles of a project, and nothing is changed then.
import type { KeyConnector } from '../connector.ts';

const SPEC = 'mongodb/atlas-sdk-go openapi/atlas-api-transformed.yaml, read 2026-11';
const RECORDED = 'recorded by mongodb/mongodb-atlas-cli, TestAtlasOrgAPIKeys';
const DATED = 'application/vnd.atlas.2023-01-01+json';

export const connector: KeyConnector = {
  id: 'mongodb-atlas-api-key',
  title: 'MongoDB Atlas (API key of an organization)',
  kind: 'key',
  parameters: [{ name: 'org_id', title: 'Organization id', shape: 'label' }],
  key: {
    credential: 'json',
    strategy: 'overlap',
    admin: 'either',
    hosts: ['cloud.mongodb.com'],
    settlesWithinSeconds: 30,
    calls: {
      authentication: { by: 'digest', username: '{admin.public_key}', password: '{admin.private_key}' },
      idMember: 'id',
      inspect: {
        method: 'GET',
        url: 'https://cloud.mongodb.com/api/atlas/v2/orgs/{parameters.org_id}/apiKeys/{old.id}',
        headers: { accept: DATED },
        takes: { roles: '/roles/*/roleName' },
      },
      list: {
        method: 'GET',
        url: 'https://cloud.mongodb.com/api/atlas/v2/orgs/{parameters.org_id}/apiKeys?itemsPerPage=500',
        headers: { accept: DATED },
        items: '/results',
        id: '/id',
        name: '/desc',
        pages: { by: 'number', parameter: 'pageNum', first: 1, size: 500 },
      },
      mint: {
        method: 'POST',
        url: 'https://cloud.mongodb.com/api/atlas/v2/orgs/{parameters.org_id}/apiKeys',
        headers: { accept: DATED, 'content-type': DATED },
        json: { desc: '{name}', roles: '{copied.roles}' },
        takes: { id: '/id', public_key: '/publicKey', private_key: '/privateKey' },
      },
      test: {
        method: 'GET',
        url: 'https://cloud.mongodb.com/api/atlas/v2/orgs',
        headers: { accept: DATED },
        authentication: { by: 'digest', username: '{value.public_key}', password: '{value.private_key}' },
        worksWhen: { at: '/results' },
      },
      revoke: {
        method: 'DELETE',
        url: 'https://cloud.mongodb.com/api/atlas/v2/orgs/{parameters.org_id}/apiKeys/{value.id}',
        headers: { accept: DATED },
      },
    },
  },
  manualSteps: [
    'Put the key as json with the members id, public_key and private_key. The list of keys shows the id.',
    'The key itself or its admin credential has the role Organization Owner.',
    'The access list of the old key and its projects are not copied: add them to the new key, or give the keys of the organization no access list.',
  ],
  facts: {
    'key.calls.mint': { sureness: 'documented', source: `${SPEC}; 200 with id, publicKey and privateKey: ${RECORDED}` },
    'key.calls.inspect': {
      sureness: 'documented',
      source: `${SPEC}; roles are objects in answers and names in requests: ${RECORDED}`,
    },
    'key.calls.list': { sureness: 'documented', source: `${SPEC}: itemsPerPage up to 500, pageNum` },
    'key.calls.revoke': { sureness: 'documented', source: `${SPEC}; 204: ${RECORDED}` },
    'key.calls.test': {
      sureness: 'known',
      source: 'https://www.mongodb.com/docs/atlas/api/: GET orgs; an access list answers 403, which is no refusal of the key',
    },
    'key.calls.authentication': {
      sureness: 'known',
      source: 'https://www.mongodb.com/docs/atlas/configure-api-access/: HTTP Digest',
    },
    'key.settlesWithinSeconds': { sureness: 'inferred', source: 'no delay is documented; half a minute is assumed' },
    'key.keysMaxCount': { sureness: 'unknown', source: 'the cap of API keys is not published in the pages read' },
    'key.rateBudget': { sureness: 'seen', source: `ratelimit-limit: 500 in answers ${RECORDED}; its period is not said` },
  },
};
