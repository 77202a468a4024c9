// MariaDB, one account: its password is replaced, so that new logins need the new value at once.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'mariadb',
  title: 'MariaDB (password of one account)',
  kind: 'key',
  key: {
    credential: 'database',
    strategy: 'single_user',
    admin: 'either',
    hosts: [],
    driver: 'mysql',
  },
  manualSteps: [
    'Put the value with engine mariadb or mysql, as parts or as url. Without an admin credential the account changes its own password, for the host that it logs in from.',
    'An admin credential is a database credential of the same host and port with CREATE USER and SELECT on mysql.user. It changes every host of the account that has the old password.',
    'The account must use the plugin mysql_native_password.',
  ],
  facts: {
    'key.driver': {
      sureness: 'known',
      source: 'https://mariadb.com/kb/en/alter-user/: IDENTIFIED VIA mysql_native_password USING takes the hash',
    },
    'key.strategy': { sureness: 'known', source: 'https://mariadb.com/kb/en/alter-user/: an account has one password' },
    'key.rateBudget': { sureness: 'known', source: 'no limit other than the connections of the server' },
  },
};
