import { expect, it } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import { VERSION } from '../../src/base/version.ts';

it('the version in the tree is the package’s', () => {
  expect(VERSION).toBe(manifest.version);
});
