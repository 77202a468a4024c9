// Redis 6 and newer, Valkey: a user of the ACL has both passwords until the old one is removed.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'redis',
  title: 'Redis or Valkey (ACL user)',
  kind: 'key',
  key: {
    credential: 'database',
    strategy: 'overlap',
    admin: 'either',
    hosts: [],
    driver: 'redis',
  },
  manualSteps: [
    'Put the value with engine redis, as parts or as url; rediss is TLS with a verified certificate. A value without a user name is the user default.',
    'The user itself, or the admin credential (a database credential of the same host and port), needs the commands ACL GETUSER, ACL SETUSER, ACL SAVE and CONFIG REWRITE.',
    'The server must have an ACL file or a configuration file, so that a restart keeps the users.',
    'With replicas or a cluster, the users of every other node are yours to change: only the host in the value is changed.',
  ],
  facts: {
    'key.driver': {
      sureness: 'known',
      source: 'https://redis.io/docs/latest/commands/acl-setuser/: #hash adds the SHA-256 of a password, !hash removes it',
    },
    'key.keysMaxCount': {
      sureness: 'known',
      source: 'https://redis.io/docs/latest/commands/acl-setuser/: no limit of passwords is given',
    },
    'key.rateBudget': { sureness: 'known', source: 'no limit other than the connections of the server' },
  },
};
