// PostgreSQL, two roles in turn: the role and a member of it, of which one is in use.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'postgresql-alternating',
  title: 'PostgreSQL (two roles in turn)',
  kind: 'key',
  key: {
    credential: 'database',
    strategy: 'alternating_users',
    admin: 'credential',
    hosts: [],
    driver: 'postgresql',
  },
  manualSteps: [
    'Put the value with engine postgresql, as parts or as url. At the first rotation the admin makes a second role, named after the first with _clone at its end.',
    'The second role is a member of the first, has its attributes and settings, and its sessions act as the first, so that both own what either creates.',
    'The admin credential is a database credential of the same host and port, for a role with CREATEROLE and the ADMIN option on the managed role. The managed role must not be a superuser.',
    'At the end of the grace period the role that is not in use has no password.',
  ],
  facts: {
    'key.driver': {
      sureness: 'known',
      source:
        'https://www.postgresql.org/docs/current/sql-alterrole.html: a SCRAM-SHA-256 verifier is accepted in place of a password, and the clear text is then not in the log of the server',
    },
    'key.strategy': {
      sureness: 'seen',
      source: 'aws-samples/aws-secrets-manager-rotation-lambdas SecretsManagerRDSPostgreSQLRotationMultiUser',
    },
    'key.rateBudget': { sureness: 'known', source: 'no limit other than the connections of the server' },
  },
};
