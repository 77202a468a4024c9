// The network rule of drivers: what is never reached, and what an operator allows.
import { describe, expect, test } from 'vitest';
import { mayReach, parseNetworks } from '../../../rotation/engine/target-networks.ts';

const NEVER = [
  ...['169.254.169.254', '169.254.170.2', 'fe80::1', 'fe80::1%eth0', '168.63.129.16', '100.100.100.200', 'fd00:ec2::254'],
  ...[
    'fd20:ce::254',
    '0.0.0.0',
    '::',
    '224.0.0.1',
    'ff02::1',
    '255.255.255.255',
    '192.0.2.1',
    '::ffff:10.0.0.1',
    '64:ff9b::a00:1',
  ],
  ...['192.0.0.192', '2002:a00:1::', 'db.example.com', '', '10.0.0'],
];
const PRIVATE = ['10.0.0.1', '172.16.0.1', '192.168.1.1', '100.64.0.1', 'fd12:3456::1'];
const PUBLIC = ['8.8.8.8', '2606:4700::1'];
const LOOPBACK = ['127.0.0.1', '127.9.9.9', '::1'];

describe('an address of a database', () => {
  test.each(NEVER)('%j is never reached, whatever the operator lists', (address) => {
    for (const networks of [undefined, parseNetworks(['0.0.0.0/0', '::/0'])])
      for (const allowLoopback of [true, false]) expect(mayReach(address, networks, allowLoopback)).toBe(false);
  });

  test.each([...PRIVATE, ...PUBLIC])('%s is reached unless the operator lists other networks', (address) => {
    expect(mayReach(address, undefined, false)).toBe(true);
    expect(mayReach(address, parseNetworks(['10.99.0.0/16']), false)).toBe(false);
    expect(mayReach(address, parseNetworks(['0.0.0.0/0', '::/0']), false)).toBe(true);
    expect(mayReach(address, [], false)).toBe(false);
    expect(mayReach(address, parseNetworks(['10.99.0.0/16', '0.0.0.0/0', '::/0']), false)).toBe(true);
  });

  test.each(LOOPBACK)('%s is reached only in a sandbox or if it is listed', (address) => {
    expect(mayReach(address, undefined, false)).toBe(false);
    expect(mayReach(address, undefined, true)).toBe(true);
    expect(mayReach(address, parseNetworks(['10.0.0.0/8']), false)).toBe(false);
    expect(mayReach(address, parseNetworks(['127.0.0.0/8', '::1/128']), false)).toBe(true);
  });
});

describe('the option --database-network', () => {
  test.each(['10.0.0.1', '10.0.0.0/33', 'db.example.com', '10.0.0.0/8,fd00::/8', '10.0.0.0/', ''])('refuses %j', (text) => {
    expect(() => parseNetworks([text])).toThrow('a database network must be in CIDR form');
  });
});
