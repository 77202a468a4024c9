// Twilio standard API keys. They cannot manage keys, so the admin credential is the account's Auth Token or a main key.
// A restricted key has a policy whose rights a test cannot know, so it is refused before anything is made.
import type { KeyConnector } from '../connector.ts';

const SPEC = 'twilio/twilio-oai spec/json/twilio_iam_v1.json, read 2026-11';

export const connector: KeyConnector = {
  id: 'twilio-api-key',
  title: 'Twilio (API key)',
  kind: 'key',
  parameters: [{ name: 'account_sid', title: 'Account SID (AC...)', shape: 'label' }],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'credential',
    adminKinds: ['basic'],
    hosts: ['iam.twilio.com', 'api.twilio.com'],
    calls: {
      authentication: { by: 'basic', username: '{admin.username}', password: '{admin.password}' },
      inspect: {
        method: 'GET',
        url: 'https://iam.twilio.com/v1/Keys/{old.key_id}',
        refusedWhen: [{ at: '/policy', is: 'present', cause: 'restricted_key_not_supported' }],
        takes: { sid: '/sid' },
      },
      list: {
        method: 'GET',
        url: 'https://iam.twilio.com/v1/Keys?AccountSid={parameters.account_sid}&PageSize=1000',
        items: '/keys',
        id: '/sid',
        name: '/friendly_name',
        pages: { by: 'url', at: '/meta/next_page_url' },
      },
      mint: {
        method: 'POST',
        url: 'https://iam.twilio.com/v1/Keys',
        form: { AccountSid: '{parameters.account_sid}', FriendlyName: '{name}' },
        takes: { key: '/secret', key_id: '/sid' },
      },
      test: {
        method: 'GET',
        url: 'https://api.twilio.com/2010-04-01/Accounts/{parameters.account_sid}/Messages.json?PageSize=1',
        authentication: { by: 'basic', username: '{value.key_id}', password: '{value.key}' },
        rejectedBy: [{ status: 401, text: '20003' }],
        worksWhen: { at: '/messages' },
      },
      revoke: { method: 'DELETE', url: 'https://iam.twilio.com/v1/Keys/{value.key_id}' },
    },
  },
  manualSteps: [
    'Put the secret of the key with its SID (SK...) as key_id.',
    'The admin credential is of kind basic: the Account SID with the Auth Token, or the SID and secret of a main key.',
    'Restricted keys: make a new one with the same policy in the Twilio console, and put it.',
  ],
  facts: {
    'key.calls.mint': { sureness: 'documented', source: `${SPEC}: 201 with sid and secret` },
    'key.calls.inspect': { sureness: 'documented', source: `${SPEC}: policy of a restricted key, otherwise null` },
    'key.calls.list': { sureness: 'documented', source: `${SPEC}: at most 1000 keys a page` },
    'key.calls.revoke': { sureness: 'documented', source: `${SPEC}: 204; 404 for a key that does not exist is known` },
    'key.calls.test': {
      sureness: 'seen',
      source:
        'NangoHQ/nango packages/providers/providers.yaml twilio; code 20003 of a refused key: https://www.twilio.com/docs/api/errors/20003 (known)',
    },
    'key.admin': { sureness: 'known', source: 'https://www.twilio.com/docs/iam/api-keys: standard keys cannot manage keys' },
    'key.keysMaxCount': { sureness: 'unknown', source: 'no cap of keys is published in the pages read' },
    'key.rateBudget': { sureness: 'unknown', source: 'no figure for these calls is published; 429 has code 20429' },
  },
};
