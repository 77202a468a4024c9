// AWS IAM: the access key of a user. At most two exist and they have no name: a key whose answer was lost is the one that was made then
// and never used. The test is STS GetCallerIdentity, which needs no permission.
import type { KeyConnector } from '../connector.ts';

const SPEC = 'botocore service model iam 2010-05-08, read 2026-11';
const IAM = { by: 'sigv4', service: 'iam', region: 'us-east-1', keyId: '{admin.key_id}', key: '{admin.key}' } as const;

export const connector: KeyConnector = {
  id: 'aws-iam-access-key',
  title: 'AWS (access key of an IAM user)',
  kind: 'key',
  parameters: [{ name: 'user_name', title: 'Name of the IAM user', shape: 'label' }],
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'either',
    hosts: ['iam.amazonaws.com', 'sts.amazonaws.com'],
    keysMaxCount: 2,
    settlesWithinSeconds: 120,
    errorTable: [
      { text: '<Code>LimitExceeded</Code>', means: 'configuration', cause: 'key_cap_reached' },
      { text: '<Code>Throttling</Code>', means: 'transient', cause: 'throttled' },
      { text: '<Code>EntityTemporarilyUnmodifiable</Code>', means: 'transient', cause: 'temporarily_unmodifiable' },
      { text: '<Code>AccessDenied</Code>', means: 'configuration', cause: 'access_denied' },
    ],
    calls: {
      authentication: IAM,
      list: {
        method: 'POST',
        url: 'https://iam.amazonaws.com/',
        form: { Action: 'ListAccessKeys', Version: '2010-05-08', UserName: '{parameters.user_name}' },
        answer: 'xml',
        items: '/ListAccessKeysResponse/ListAccessKeysResult/AccessKeyMetadata/member',
        id: '/AccessKeyId',
        createdAt: '/CreateDate',
      },
      used: {
        method: 'POST',
        url: 'https://iam.amazonaws.com/',
        form: { Action: 'GetAccessKeyLastUsed', Version: '2010-05-08', AccessKeyId: '{value.key_id}' },
        answer: 'xml',
        at: '/GetAccessKeyLastUsedResponse/GetAccessKeyLastUsedResult/AccessKeyLastUsed/LastUsedDate',
      },
      mint: {
        method: 'POST',
        url: 'https://iam.amazonaws.com/',
        form: { Action: 'CreateAccessKey', Version: '2010-05-08', UserName: '{parameters.user_name}' },
        answer: 'xml',
        takes: {
          key: '/CreateAccessKeyResponse/CreateAccessKeyResult/AccessKey/SecretAccessKey',
          key_id: '/CreateAccessKeyResponse/CreateAccessKeyResult/AccessKey/AccessKeyId',
        },
      },
      test: {
        method: 'POST',
        url: 'https://sts.amazonaws.com/',
        authentication: { by: 'sigv4', service: 'sts', region: 'us-east-1', keyId: '{value.key_id}', key: '{value.key}' },
        form: { Action: 'GetCallerIdentity', Version: '2011-06-15' },
        answer: 'xml',
        rejectedBy: [
          { status: 403, text: '<Code>InvalidClientTokenId</Code>' },
          { status: 403, text: 'does not match the signature you provided' },
        ],
        worksWhen: { at: '/GetCallerIdentityResponse/GetCallerIdentityResult/Arn' },
      },
      revoke: {
        method: 'POST',
        url: 'https://iam.amazonaws.com/',
        form: {
          Action: 'DeleteAccessKey',
          Version: '2010-05-08',
          UserName: '{parameters.user_name}',
          AccessKeyId: '{value.key_id}',
        },
        answer: 'xml',
        goneBy: [{ status: 404, text: '<Code>NoSuchEntity</Code>' }],
      },
    },
  },
  manualSteps: [
    'Put the secret access key with the access key id as key_id.',
    'The key itself or its admin credential needs iam:ListAccessKeys, iam:CreateAccessKey, iam:DeleteAccessKey and iam:GetAccessKeyLastUsed on the user.',
    'If the user has two keys, delete the one that nothing uses: aws iam get-access-key-last-used shows it.',
    'User names with characters other than letters, digits, - and _, and the partitions of China and GovCloud, are not supported.',
  ],
  facts: {
    'key.calls.mint': { sureness: 'documented', source: `${SPEC}: CreateAccessKey` },
    'key.calls.inspect': { sureness: 'documented', source: `${SPEC}: rights belong to the user, so nothing is copied` },
    'key.calls.list': { sureness: 'documented', source: `${SPEC}: ListAccessKeys with CreateDate; keys have no name` },
    'key.calls.used': {
      sureness: 'documented',
      source: `${SPEC}: GetAccessKeyLastUsed; without LastUsedDate the key was never used`,
    },
    'key.calls.revoke': { sureness: 'documented', source: `${SPEC}: DeleteAccessKey, NoSuchEntity` },
    'key.calls.test': {
      sureness: 'seen',
      source:
        'NangoHQ/nango aws-iam credentials-verification: GetCallerIdentity; SignatureDoesNotMatch is also said of a wrong clock, so its text decides',
    },
    'key.errorTable': { sureness: 'documented', source: `${SPEC}: LimitExceeded, EntityTemporarilyUnmodifiable` },
    'key.keysMaxCount': {
      sureness: 'known',
      source: 'https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html',
    },
    'key.settlesWithinSeconds': {
      sureness: 'known',
      source:
        'https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html: IAM is eventually consistent; no figure',
    },
    'key.rateBudget': { sureness: 'unknown', source: 'no figure for these calls is published' },
  },
};
