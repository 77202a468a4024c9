// Runs before each test file: property tests draw from the seed of this run, which vitest.config.ts chose and printed.
// It must never be a constant: a fixed seed asks the same questions for ever. `SEED=n npm test -- <file>` asks them again.
import fc from 'fast-check';
import { inject } from 'vitest';

declare module 'vitest' {
  interface ProvidedContext {
    readonly seed: number;
  }
}

fc.configureGlobal({ seed: inject('seed') });
