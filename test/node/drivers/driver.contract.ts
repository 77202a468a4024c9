// What every driver must do with a real server: each step once or twice, interrupted anywhere, refused in every way, and with no secret in
// an outcome, an error or the server's log. Run by one file for each server.
import { randomBytes } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import type { KeyDriver, RotationStrategy, Rotator, StoredValue, Target } from '../../../rotation/connector.ts';
import { REPLACES_AT_ONCE } from '../../../rotation/key-spec.ts';
import { TargetNetwork } from '../../../src/node/drivers/target-network.ts';
import { type CutPlace, CuttingProxy } from '../../kit/cutting-proxy.ts';

export interface MadeAccount {
  readonly old: StoredValue;
  readonly admin: StoredValue;
  /** A login of the same server without any right to change accounts. */
  readonly powerless: StoredValue;
}

export interface DriverBench {
  readonly port: number;
  /** Makes a new account on the server; hosts and ports in the values are the server's own. */
  account(): Promise<MadeAccount>;
  log(): string;
}

export interface DriverContract {
  readonly name: string;
  readonly driver: (network: TargetNetwork) => KeyDriver;
  readonly strategy: Exclude<RotationStrategy, 'manual' | 'in_place'>;
  /** Who changes the password. */
  readonly by: 'admin' | 'self';
  /** Called once before the tests; the server may be one that several contracts share. */
  readonly start: () => Promise<DriverBench>;
  /** The value with another port, in the form in which it is stored. */
  readonly atPort: (value: StoredValue, port: number) => StoredValue;
}

const entropy = { bytes: (count: number) => new Uint8Array(randomBytes(count)), fraction: () => 0.5 };
const noEgress = { send: () => Promise.reject(new Error('a driver must not use HTTP')) };

export function targetOf(old: StoredValue, admin: StoredValue): Target {
  return {
    ...{ parameters: {}, old, admin, name: 'keyturn-run', egress: noEgress, allowedHosts: [] },
    ...{ allowLoopback: true, clock: { now: () => 0 }, entropy },
  };
}

/** Every text of a value that a password is in. */
export function secretsOf(value: StoredValue): readonly string[] {
  const { url, password, password_base64: encoded } = value as Readonly<Record<string, string | undefined>>;
  return [password, encoded, url?.match(/:([^:@/]+)@/)?.[1]].filter((text) => text !== undefined);
}

export function testDriver(contract: DriverContract): void {
  describe(`${contract.name}, ${contract.strategy}, by ${contract.by}`, () => {
    let bench: DriverBench;
    let rotator: Rotator;
    const seen: StoredValue[] = [];
    const outcomes: unknown[] = [];

    beforeAll(async () => {
      bench = await contract.start();
      rotator = contract.driver(new TargetNetwork()).rotator(contract.strategy) as Rotator;
      expect(rotator).toBeDefined();
    });

    async function prepare(port = bench.port) {
      const made = await bench.account();
      const own = contract.by === 'self' ? made.old : made.admin;
      const target = targetOf(contract.atPort(made.old, port), contract.atPort(own, port));
      const created = await rotator.create(target, false);
      if (created.kind !== 'done') throw new Error(`create: ${created.kind} ${created.cause}`);
      const fresh = created.value;
      seen.push(made.old, made.admin, fresh);
      return { made, target, fresh };
    }

    const set = async (target: Target, fresh: StoredValue) => kept(await rotator.set?.(target, fresh));
    const revoke = async (target: Target, value: StoredValue) => kept(await rotator.revoke?.(target, value));
    const check = (target: Target, value: StoredValue) => rotator.test(target, value);
    function kept<T>(outcome: T): T {
      outcomes.push(outcome);
      return outcome;
    }
    const isReplacedAtOnce = REPLACES_AT_ONCE.has(contract.strategy);

    test('the new value works after set, and the old one for as long as the strategy says', async () => {
      const { target, fresh } = await prepare();
      expect(await check(target, target.old)).toBe('works');
      expect(await check(target, fresh)).toBe('rejected');
      expect(await set(target, fresh)).toEqual({ kind: 'done' });
      expect(await check(target, fresh)).toBe('works');
      expect(await check(target, target.old)).toBe(isReplacedAtOnce ? 'rejected' : 'works');
      if (isReplacedAtOnce) return;
      expect(await revoke(target, target.old)).toEqual({ kind: 'done' });
      expect(await check(target, target.old)).toBe('rejected');
      expect(await check(target, fresh)).toBe('works');
    });

    /** With `self`, the value that is replaced next. */
    const adminAfter = (target: Target, fresh: StoredValue) => (contract.by === 'self' ? fresh : target.admin);

    test('every step twice has one effect', async () => {
      const { target, fresh } = await prepare();
      expect(await set(target, fresh)).toEqual({ kind: 'done' });
      expect(await set(target, fresh)).toEqual({ kind: 'done' });
      expect(await check(target, fresh)).toBe('works');
      if (isReplacedAtOnce) return;
      expect(await revoke(target, target.old)).toEqual({ kind: 'done' });
      expect(await revoke(target, target.old)).toEqual({ kind: 'done' });
      expect(await check(target, target.old)).toBe('rejected');
      expect(await check(target, fresh)).toBe('works');
    });

    test('a second rotation starts from the result of the first', async () => {
      const { target, fresh } = await prepare();
      await set(target, fresh);
      const next: Target = { ...target, old: fresh, admin: adminAfter(target, fresh) };
      const created = await rotator.create(next, false);
      if (created.kind !== 'done') throw new Error(created.cause);
      seen.push(created.value);
      expect(await set(next, created.value)).toEqual({ kind: 'done' });
      expect(await check(next, created.value)).toBe('works');
      // The first value has ended or ends now; a repeated end of it must not touch the newer password.
      if (!isReplacedAtOnce) await revoke(target, target.old);
      expect(await check(next, target.old)).toBe('rejected');
      expect(await check(next, created.value)).toBe('works');
    });

    test.each<CutPlace>(['before the server gets it', 'after the server answered it'])(
      'a connection that ends at any write, %s: one value always works, and the repeated step succeeds',
      async (place) => {
        const proxy = await new CuttingProxy(bench.port).listen();
        try {
          let cuts = 0;
          for (let n = 1, wasCut = true; wasCut; n++) {
            const { made, target, fresh } = await prepare(proxy.port);
            const direct = (value: StoredValue) => check(target, contract.atPort(value, bench.port));
            proxy.cutAt(n, place);
            const interrupted = await set(target, fresh);
            wasCut = proxy.heal();
            if (wasCut) cuts++;
            else expect(interrupted).toEqual({ kind: 'done' });
            expect(interrupted?.kind).not.toBe('odd');
            expect([await direct(made.old), await direct(fresh)]).toContain('works');
            if (interrupted?.kind === 'refused' || interrupted?.kind === 'not_sent') expect(await direct(made.old)).toBe('works');
            expect(await set(target, fresh)).toEqual({ kind: 'done' });
            expect(await direct(fresh)).toBe('works');
            if (!isReplacedAtOnce) await interruptedRevoke(proxy, { target, fresh, n, place });
          }
          expect(cuts).toBeGreaterThan(2);
        } finally {
          await proxy.close();
        }
      },
    );

    async function interruptedRevoke(
      proxy: CuttingProxy,
      { target, fresh, n, place }: { target: Target; fresh: StoredValue; n: number; place: CutPlace },
    ): Promise<void> {
      proxy.cutAt(n, place);
      await revoke(target, target.old);
      proxy.heal();
      expect(await check(target, fresh)).toBe('works');
      expect(await revoke(target, target.old)).toEqual({ kind: 'done' });
      expect(await check(target, target.old)).toBe('rejected');
      expect(await check(target, fresh)).toBe('works');
    }

    test('a test cannot tell anything about a value whose server it does not reach', async () => {
      const proxy = await new CuttingProxy(bench.port).listen();
      const { target, fresh } = await prepare(proxy.port);
      await proxy.close();
      expect(await check(target, target.old)).toBe('unknown');
      expect(await set(target, fresh)).toMatchObject({ kind: 'not_sent', cause: 'connect_failed' });
    });

    test('a server that cuts a login at any write is unknown to a test, never rejected', async () => {
      const proxy = await new CuttingProxy(bench.port).listen();
      try {
        const { target } = await prepare(proxy.port);
        for (let n = 1, wasCut = true; wasCut; n++) {
          proxy.cutAt(n, 'before the server gets it');
          const verdict = await check(target, target.old);
          wasCut = proxy.heal();
          expect(verdict).not.toBe('rejected');
          if (!wasCut) expect(verdict).toBe('works');
        }
      } finally {
        await proxy.close();
      }
    });

    test('values that lead to another server or name another account are refused before any connection', async () => {
      const proxy = await new CuttingProxy(bench.port).listen();
      try {
        const { target, fresh, made } = await prepare(proxy.port);
        const elsewhere = contract.atPort(fresh, bench.port);
        expect(await set(target, elsewhere)).toMatchObject({ kind: 'refused', means: 'configuration', cause: 'target_changed' });
        if (contract.by === 'admin') {
          const admin = contract.atPort(made.admin, bench.port);
          const away = { kind: 'refused', means: 'configuration', cause: 'admin_of_another_server' };
          expect(await set({ ...target, admin }, fresh)).toMatchObject(away);
          if (rotator.revoke !== undefined) expect(await revoke({ ...target, admin }, target.old)).toMatchObject(away);
        }
        const renamed = { ...fresh, username: 'somebody-else' };
        expect(await set(target, renamed)).toMatchObject({ kind: 'refused', means: 'configuration' });
        expect(proxy.connections).toBe(0);
      } finally {
        await proxy.close();
      }
    });

    test('passwords are 32 characters of a safe alphabet, and no two are equal', async () => {
      const made = [await prepare(), await prepare()].flatMap(({ fresh }) => secretsOf(fresh).slice(0, 1));
      for (const password of made) expect(password).toMatch(/^[A-HJ-NP-Za-km-z2-9]{32}$/);
      expect(new Set(made).size).toBe(2);
    });

    test('no outcome and no line of the server has a password', async () => {
      const { target, fresh } = await prepare();
      await set(target, fresh);
      await check(target, { ...fresh, password: 'a-wrong-password' });
      const secrets = new Set(seen.flatMap(secretsOf));
      expect(secrets.size).toBeGreaterThan(10);
      const told = JSON.stringify(outcomes) + JSON.stringify(rotator.plan({ parameters: {} }));
      expect([...secrets].filter((secret) => told.includes(secret))).toEqual([]);
      const log = bench.log();
      expect(log.length).toBeGreaterThan(0);
      expect([...secrets].filter((secret) => log.includes(secret))).toEqual([]);
    });

    // An account may always change its own password, and needs the old one for it.
    if (contract.by === 'self') return;

    test('an admin without the right is a fault of the configuration, and nothing changes', async () => {
      const { made, target, fresh } = await prepare();
      const weak = { ...target, admin: contract.atPort(made.powerless, bench.port) };
      expect(await set(weak, fresh)).toMatchObject({ kind: 'refused', means: 'configuration', cause: 'insufficient_privilege' });
      expect(await check(target, target.old)).toBe('works');
      expect(await check(target, fresh)).toBe('rejected');
    });

    test('an admin whose password is refused is a fault of the configuration', async () => {
      const { target, fresh } = await prepare();
      const wrong = { ...target, admin: { ...target.admin, password: 'not-the-password' } };
      expect(await set(wrong, fresh)).toMatchObject({ kind: 'refused', means: 'configuration', cause: 'login_rejected' });
      expect(await check(target, target.old)).toBe('works');
    });
  });
}
