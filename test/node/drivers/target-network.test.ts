// Drivers dial the address that was checked (test/rotation/engine/target-networks.test.ts has the rule itself).
import { describe, expect, test } from 'vitest';
import { StepFailed } from '../../../src/node/drivers/step-failed.ts';
import { TargetNetwork } from '../../../src/node/drivers/target-network.ts';

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
