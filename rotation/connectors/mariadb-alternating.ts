// MariaDB, two accounts in turn, with the same rights.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'mariadb-alternating',
  title: 'MariaDB (two accounts in turn)',
  kind: 'key',
  key: {
    credential: 'database',
    strategy: 'alternating_users',
    admin: 'credential',
    hosts: [],
    driver: 'mysql',
  },
  manualSteps: [
    'Put the value with engine mariadb or mysql, as parts or as url. At the first rotation the admin makes a second account, named after the first with _clone at its end.',
    'Each rotation gives the second account the rights that it lacks. If it has a right that the first lacks, the rotation is refused: revoke the right from both.',
    'The admin credential is a database credential of the same host and port with CREATE USER, SELECT on the schema mysql, and every right of the account WITH GRANT OPTION.',
    'The account must use the plugin mysql_native_password.',
  ],
  facts: {
    'key.driver': {
      sureness: 'known',
      source: 'https://mariadb.com/kb/en/alter-user/: IDENTIFIED VIA mysql_native_password USING takes the hash',
    },
    'key.strategy': {
      sureness: 'seen',
      source: 'aws-samples/aws-secrets-manager-rotation-lambdas SecretsManagerRDSMySQLRotationMultiUser',
    },
    'key.rateBudget': { sureness: 'known', source: 'no limit other than the connections of the server' },
  },
};
