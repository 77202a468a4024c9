// The port of the sources of a root key. The contract suite is test/contracts/root-provider.contract.ts.
// A provider must never write a root key outside its own place, nor return a key that it has not stored durably.
import type { RootKey } from '../crypto/root-key.ts';
import type { RootDescriptor, RootProviderName } from './installation-file.ts';

export interface MadeRoot {
  readonly root: RootKey;
  readonly descriptor: RootDescriptor;
}

/** Whether a root key is the one of this installation. */
export type Matches = (root: RootKey) => boolean;

export interface RootProvider {
  readonly name: RootProviderName;
  /** The provider in a message: `this installation opens with ...`. */
  readonly described: string;
  /** The options of `serve` that name it. */
  readonly options: string;
  /** The root key of a new installation. */
  first(installationId: string): Promise<MadeRoot>;
  /** The root key after the present one; both can be opened until `settle`. @throws conflict */
  next(installationId: string): Promise<MadeRoot>;
  /** The root key that `matches`, or another one that the caller refuses. @throws sealed */
  open(descriptor: RootDescriptor, installationId: string, matches: Matches): Promise<RootKey>;
  /** Puts the key that was opened or made last in the place of the present one, once installation.json names it. Idempotent. */
  settle(): void;
}
