import { deployToWorkerd, TEST_BOOTSTRAP_SECRET } from '../kit/workerd-server.ts';
import { conformance } from './suite.ts';

conformance('Keyturn in workerd', async () => {
  const deployment = await deployToWorkerd();
  const { url } = await deployment.start();
  // The root key of a Worker is a secret of the platform and cannot be rotated yet.
  const neverWell = ['POST /v1/installation/root/rotations'];
  return { url, bootstrapSecret: TEST_BOOTSTRAP_SECRET, neverWell, stop: () => deployment.remove() };
});
