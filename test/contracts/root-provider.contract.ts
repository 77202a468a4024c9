// What every source of a root key must do, whatever it is.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RootKey } from '../../src/crypto/root-key.ts';
import type { RootProvider } from '../../src/node/root-provider.ts';
import { caughtCode } from '../kit/outcome.ts';

const INSTALLATION = 'ins_0123456789abcdefghjkmnpq';

/** The place of one source. */
export interface ProviderPlace {
  /** The provider as a new process makes it. */
  open(): RootProvider;
  /** Takes away what the operator must keep beside installation.json. */
  lose(): void;
  remove(): void;
}

export function rootProviderContract(name: string, newPlace: () => ProviderPlace): void {
  describe(`the root key from ${name}`, () => {
    let place: ProviderPlace;
    beforeEach(() => {
      place = newPlace();
    });
    afterEach(() => place.remove());

    const matches = (root: RootKey) => (other: RootKey) => other.id === root.id;

    it('is the same for every process that opens it', async () => {
      const made = await place.open().first(INSTALLATION);
      expect(made.descriptor.provider).toBe(place.open().name);
      for (let i = 0; i < 2; i++)
        expect((await place.open().open(made.descriptor, INSTALLATION, matches(made.root))).id).toBe(made.root.id);
    });

    it('is not in its descriptor, which survives JSON', async () => {
      const { root, descriptor } = await place.open().first(INSTALLATION);
      const text = JSON.stringify(descriptor);
      expect(JSON.parse(text)).toEqual(descriptor);
      root.revealTo((bytes) => {
        const live = Buffer.from(bytes);
        for (const encoding of ['hex', 'base64', 'base64url'] as const) expect(text).not.toContain(live.toString(encoding));
        if ('wrapped' in descriptor) expect(Buffer.from(descriptor.wrapped, 'base64url').includes(live)).toBe(false);
      });
    });

    it('has a next one: both open until the new one is settled, and then the new one does', async () => {
      const first = await place.open().first(INSTALLATION);
      const provider = place.open();
      const next = await provider.next(INSTALLATION);
      expect(next.root.id).not.toBe(first.root.id);
      // A crash before installation.json names the new one, and one after it.
      expect((await place.open().open(first.descriptor, INSTALLATION, matches(first.root))).id).toBe(first.root.id);
      const after = place.open();
      expect((await after.open(next.descriptor, INSTALLATION, matches(next.root))).id).toBe(next.root.id);
      after.settle();
      after.settle();
      provider.settle();
      expect((await place.open().open(next.descriptor, INSTALLATION, matches(next.root))).id).toBe(next.root.id);
    });

    it('is refused without what the operator keeps', async () => {
      const { root, descriptor } = await place.open().first(INSTALLATION);
      place.lose();
      await expect(async () => place.open().open(descriptor, INSTALLATION, matches(root))).rejects.toMatchObject({
        code: 'sealed',
      });
    });

    it('refuses a descriptor of another source', async () => {
      const provider = place.open();
      const { root } = await provider.first(INSTALLATION);
      if (provider.name === 'keyfile') return expect(caughtCode(() => provider.settle())).toBe('ok');
      await expect(provider.open({ provider: 'keyfile' }, INSTALLATION, matches(root))).rejects.toMatchObject({
        code: 'internal',
      });
    });
  });
}
