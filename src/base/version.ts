// The version of this tree; test/base/version.test.ts compares it with package.json.
export const VERSION = '0.1.0';
