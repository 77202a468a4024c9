import { deployToWorkerd, TEST_BOOTSTRAP_SECRET } from '../kit/workerd-server.ts';
import { conformance } from './suite.ts';

conformance('Keyturn in workerd', async () => {
  const deployment = await deployToWorkerd();
  const { url } = await deployment.start();
  return { url, bootstrapSecret: TEST_BOOTSTRAP_SECRET, stop: () => deployment.remove() };
});
