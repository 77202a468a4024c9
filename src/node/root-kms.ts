// A root key that AWS KMS wraps: the key service sees the root key and never stores it; who may ask it is a policy there.
// The client is loaded only when this source is used. Region and credentials are those of the AWS environment of the process.
import { fail, KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Wrapping } from './wrapped-root.ts';

type Kms = typeof import('@aws-sdk/client-kms');

/** @param keyId the id, ARN or alias of a symmetric key of KMS */
export function kmsWrapping(keyId: string): Wrapping {
  let loaded: Promise<{ kms: Kms; client: InstanceType<Kms['KMSClient']> }> | undefined;
  const use = () => {
    loaded ??= load();
    return loaded;
  };
  // SECURITY: the context is authenticated by KMS: a wrapped key of another installation is refused there.
  const context = (installationId: string) => ({ keyturn_installation: installationId });
  const options = () => ({ abortSignal: AbortSignal.timeout(LIMITS.rootCommandMaxMs) });
  return {
    async wrap(bytes, installationId) {
      const { kms, client } = await use();
      const command = new kms.EncryptCommand({ KeyId: keyId, Plaintext: bytes, EncryptionContext: context(installationId) });
      const { CiphertextBlob } = await client.send(command, options()).catch(refuse);
      return CiphertextBlob ?? fail('sealed', 'AWS KMS gave no ciphertext');
    },
    async unwrap(wrapped, installationId) {
      const { kms, client } = await use();
      // SECURITY: by the key that the operator named, not by the one that the ciphertext names.
      const input = { KeyId: keyId, CiphertextBlob: wrapped, EncryptionContext: context(installationId) };
      const { Plaintext } = await client.send(new kms.DecryptCommand(input), options()).catch(refuse);
      return Plaintext ?? fail('sealed', 'AWS KMS gave no plaintext');
    },
  };
}

async function load(): Promise<{ kms: Kms; client: InstanceType<Kms['KMSClient']> }> {
  try {
    const kms = await import('@aws-sdk/client-kms');
    return { kms, client: new kms.KMSClient({}) };
  } catch (error) {
    return fail('sealed', 'the root key of AWS KMS needs the package @aws-sdk/client-kms: install the optional dependencies', {
      cause: error,
    });
  }
}

function refuse(error: unknown): never {
  // Names such as AccessDeniedException tell the operator what to change; the message may contain ARNs and stays in the log.
  const { name, message } = error as { name?: string; message?: string };
  throw new KeyturnError('sealed', `AWS KMS refused the root key or could not be reached (${name ?? 'unknown'})`, {
    evidence: message ?? 'unknown',
    cause: error,
  });
}
