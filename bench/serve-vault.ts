// The service as it is run, on a data directory of the bench.
import { startKeyturn } from '../src/node/start.ts';
import { answerWith, givenInput } from './child.ts';

const { dataDirectory } = givenInput<{ dataDirectory: string }>();
const keyturn = startKeyturn({ dataDirectory, host: '127.0.0.1', port: 0, log: (line) => console.error(line) });
answerWith({ hello: async () => ({ url: (await keyturn).url }) }, async () => (await keyturn).close());
