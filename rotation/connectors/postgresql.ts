// PostgreSQL, one role: its password is replaced, so that new logins need the new value at once.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'postgresql',
  title: 'PostgreSQL (password of one role)',
  kind: 'key',
  key: {
    credential: 'database',
    strategy: 'single_user',
    admin: 'either',
    hosts: [],
    driver: 'postgresql',
  },
  manualSteps: [
    'Put the value with engine postgresql, as parts or as url. Without an admin credential the role changes its own password.',
    'An admin credential is a database credential of the same host and port, for a role with CREATEROLE and the ADMIN option on the managed role.',
    'Sessions that are open stay open. Clients that keep the old password are refused until they read the new value: use postgresql-alternating if that matters.',
    'A pooler that keeps a copy of the password (PgBouncer with auth_file) must be reloaded by you.',
  ],
  facts: {
    'key.driver': {
      sureness: 'known',
      source:
        'https://www.postgresql.org/docs/current/sql-alterrole.html: a SCRAM-SHA-256 verifier is accepted in place of a password, and the clear text is then not in the log of the server',
    },
    'key.strategy': {
      sureness: 'known',
      source: 'https://www.postgresql.org/docs/current/sql-alterrole.html: a role has one password',
    },
    'key.rateBudget': { sureness: 'known', source: 'no limit other than the connections of the server' },
  },
};
