// The network rule of drivers: what is never reached, what an operator allows, and that the checked address is the one that is dialled.
import { describe, expect, test } from 'vitest';
import { mayReach, parseNetworks } from '../../../rotation/engine/target-networks.ts';
import { StepFailed } from '../../../src/node/drivers/step-failed.ts';
import { TargetNetwork } from '../../../src/node/drivers/target-network.ts';

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

describe('a name', () => {
  const dialled: string[] = [];
  const dial = async (address: string) => {
    dialled.push(address);
    if (address === '10.0.0.1') throw StepFailed.notSent('connect_failed');
    if (address === '10.0.0.2') throw StepFailed.lost('connection_lost');
    return address;
  };
  const reach = (addresses: readonly string[]) => {
    dialled.length = 0;
    return new TargetNetwork({ lookup: async () => addresses }).dial('db.example.com', false, dial);
  };

  test('is resolved once, and its addresses are dialled in turn until one is reached', async () => {
    expect(await reach(['10.0.0.1', '10.0.0.3', '10.0.0.4'])).toBe('10.0.0.3');
    expect(dialled).toEqual(['10.0.0.1', '10.0.0.3']);
    await expect(reach(['10.0.0.2', '10.0.0.3'])).rejects.toMatchObject({ failure: { kind: 'lost' } });
    expect(dialled).toEqual(['10.0.0.2']);
  });

  test.each([['10.0.0.3', '169.254.169.254'], ['127.0.0.1']])(
    'is refused as a whole if one address is: %j %j',
    async (...addresses) => {
      await expect(reach(addresses.filter((one) => one !== undefined))).rejects.toMatchObject({
        ...{ failure: { kind: 'refused', means: 'configuration', cause: 'address_blocked' } },
      });
      expect(dialled).toEqual([]);
    },
  );

  test('without an address is not sent', async () => {
    await expect(reach([])).rejects.toMatchObject({ failure: { kind: 'not_sent', cause: 'dns_failed' } });
    const failing = new TargetNetwork({ lookup: () => Promise.reject(new Error('no such name')) });
    await expect(failing.dial('db.example.com', false, dial)).rejects.toMatchObject({ failure: { cause: 'dns_failed' } });
  });

  test('that is an address is not looked up', async () => {
    const network = new TargetNetwork({ lookup: () => Promise.reject(new Error('looked up')) });
    expect(await network.dial('10.0.0.9', false, dial)).toBe('10.0.0.9');
    await expect(network.dial('169.254.169.254', false, dial)).rejects.toMatchObject({ failure: { cause: 'address_blocked' } });
  });
});
