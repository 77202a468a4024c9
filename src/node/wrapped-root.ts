// Root keys that something else wraps (a program, a key service): installation.json holds the wrapped key. A new key is used only after what
// wrapped it has unwrapped it again.
import { fail } from '../base/errors.ts';
import { equalBytes, KEY_BYTES, randomBytes } from '../crypto/primitives.ts';
import { RootKey } from '../crypto/root-key.ts';
import type { RootDescriptor, RootProviderName } from './installation-file.ts';
import type { MadeRoot, RootProvider } from './root-provider.ts';

export interface Wrapping {
  wrap(bytes: Uint8Array, installationId: string): Promise<Uint8Array>;
  /** @throws sealed */
  unwrap(wrapped: Uint8Array, installationId: string): Promise<Uint8Array>;
}

export class WrappedRootProvider implements RootProvider {
  readonly name: RootProviderName;
  readonly described: string;
  readonly options: string;
  readonly #wrapping: Wrapping;

  constructor(name: RootProviderName, described: string, options: string, wrapping: Wrapping) {
    this.name = name;
    this.described = described;
    this.options = options;
    this.#wrapping = wrapping;
  }

  async first(installationId: string): Promise<MadeRoot> {
    const bytes = randomBytes(KEY_BYTES);
    try {
      const wrapped = await this.#wrapping.wrap(bytes, installationId);
      const again = await this.#wrapping.unwrap(wrapped, installationId);
      const isSame = equalBytes(again, bytes);
      again.fill(0);
      if (!isSame || contains(wrapped, bytes))
        fail('sealed', `a root key that ${this.described} wrapped was not the same after unwrapping, or was not wrapped at all`);
      const descriptor = { provider: this.name, wrapped: Buffer.from(wrapped).toString('base64url') } as RootDescriptor;
      return { root: RootKey.of(bytes), descriptor };
    } finally {
      bytes.fill(0);
    }
  }

  next(installationId: string): Promise<MadeRoot> {
    return this.first(installationId);
  }

  async open(descriptor: RootDescriptor, installationId: string): Promise<RootKey> {
    if (!('wrapped' in descriptor)) return fail('internal', 'a descriptor of another provider');
    const bytes = await this.#wrapping.unwrap(new Uint8Array(Buffer.from(descriptor.wrapped, 'base64url')), installationId);
    try {
      return RootKey.of(bytes);
    } finally {
      bytes.fill(0);
    }
  }

  settle(): void {}
}

/** SECURITY: a program that answers with its input would put the root key into installation.json in the clear. */
function contains(wrapped: Uint8Array, bytes: Uint8Array): boolean {
  return Buffer.from(wrapped).includes(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}
