// LDAP directories with the Password Modify operation, such as OpenLDAP: new binds need the new value at once.
import type { KeyConnector } from '../connector.ts';

export const connector: KeyConnector = {
  id: 'ldap',
  title: 'LDAP (password of one entry)',
  kind: 'key',
  key: {
    credential: 'database',
    strategy: 'single_user',
    admin: 'either',
    hosts: [],
    driver: 'ldap',
  },
  manualSteps: [
    'Put the value with engine ldaps (or ldap for StartTLS), host, and the DN of the entry as username. Without an admin credential the entry changes its own password.',
    'An admin credential is a database credential of the same host and port, for an entry that may write userPassword of the managed one.',
    'The certificate of the server is verified; for an authority of your own, put its certificate into the option sslrootcert, as PEM text.',
    'Active Directory has no Password Modify operation and is refused. The server hashes the password as its own policy says.',
  ],
  facts: {
    'key.driver': { sureness: 'known', source: 'RFC 3062: Password Modify, with the old password if the entry changes its own' },
    'key.strategy': { sureness: 'known', source: 'RFC 3062 section 2: the new password replaces the old one' },
    'key.rateBudget': { sureness: 'known', source: 'no limit other than the connections of the server' },
  },
};
