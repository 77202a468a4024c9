// MySQL 8.0.14 and newer: the account has both passwords until the old one is discarded.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'mysql',
  title: 'MySQL (dual password)',
  kind: 'key',
  key: {
    credential: 'database',
    strategy: 'overlap',
    admin: 'either',
    hosts: [],
    keysMaxCount: 2,
    driver: 'mysql',
  },
  manualSteps: [
    'Put the value with engine mysql, as parts or as url. Not for MariaDB, which has no dual passwords: use mariadb or mariadb-alternating.',
    'An account that rotates itself needs APPLICATION_PASSWORD_ADMIN. An admin credential is a database credential of the same host and port with CREATE USER and SELECT on mysql.user.',
    'The connection must be encrypted (the default if the server offers TLS), because the statement has the password; the server replaces it in its logs.',
  ],
  facts: {
    'key.driver': {
      sureness: 'known',
      source:
        'https://dev.mysql.com/doc/refman/8.4/en/password-management.html#dual-passwords: ALTER USER ... RETAIN CURRENT PASSWORD and DISCARD OLD PASSWORD. Tested with a model of an account, not with a server',
    },
    'key.keysMaxCount': {
      sureness: 'known',
      source:
        'https://dev.mysql.com/doc/refman/8.4/en/password-management.html#dual-passwords: one secondary password; RETAIN replaces an older one',
    },
    'key.rateBudget': { sureness: 'known', source: 'no limit other than the connections of the server' },
  },
};
